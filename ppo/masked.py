"""Reductions over the tokens that a mask keeps. Masks are bool (B, T), True = a token the policy chose.

Everything outside the mask is replaced before arithmetic, never multiplied by zero: a NaN under a zero
would survive the product.
"""

import torch
from torch import Tensor


def check_shapes(mask: Tensor, **tensors: Tensor) -> None:
    """Raise ValueError unless `mask` is a bool matrix and every tensor has its shape (B, T)."""
    if mask.dtype != torch.bool or mask.dim() != 2:
        raise ValueError(f"the mask must be bool (B, T), not {mask.dtype} {tuple(mask.shape)}")
    for name, tensor in tensors.items():
        if tensor.shape != mask.shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, the mask is {tuple(mask.shape)}")


def keep(x: Tensor, mask: Tensor) -> Tensor:
    """x inside the mask, 0 outside: (B, T)."""
    return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))


def masked_sum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum of x over the mask: a scalar."""
    return keep(x, mask).sum()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the mask: a scalar; 0 for an empty mask."""
    return masked_sum(x, mask) / mask.sum().clamp(min=1)


def last_index(mask: Tensor) -> Tensor:
    """Index of the last True of every row: (B,) int64; meaningless for an empty row."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, positions, torch.zeros_like(positions)).amax(dim=1)
