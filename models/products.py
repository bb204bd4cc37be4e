"""Products of frozen weights in float32 on a CPU, by the library that is quicker on this processor.

PyTorch multiplies by MKL on every x86 processor. That is written for Intel's; on others oneDNN, which is in
the same wheel, multiplies faster: on an AMD EPYC (Zen 4) long products reach 108 GFLOP/s in place of 96, and
those of few rows, with a weight laid out for them beforehand, take 0.6 of the time (models/quick_layers.py).

The choice is made by the processor, not by a clock: the same machine has the same roundings every time.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils._python_dispatch import _disable_current_modes

from models.shortcuts import Shortcut

ONEDNN = Shortcut("products by oneDNN where MKL is not at home")

_INTEL = "GenuineIntel"


def by_onednn() -> bool:
    """Whether oneDNN multiplies here."""
    return ONEDNN.on and _is_quicker()


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + c of (N, in), W (out, in), which may be a transposed view, and c (out) or None.

    Without a gradient: for what is called by functions that have their own, and where none is taken.
    """
    plain = (x, weight) if bias is None else (x, weight, bias)
    if x.numel() and all(map(_is_plain, plain)) and by_onednn():
        return multiplied(x, weight, bias)
    return linear(x, weight, bias)


def multiplied(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same by oneDNN, of a weight in rows or laid out."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def laid_out(weight: Tensor) -> Tensor:
    """A weight (out, in) in oneDNN's own order, for products with any number of rows."""
    return torch.ops.mkldnn._reorder_linear_weight.default(weight.detach())


def _is_plain(tensor: Tensor) -> bool:
    """Numbers of float32 on a CPU, and not a tensor that only counts what would be done."""
    kind = torch.nn.Parameter if isinstance(tensor, torch.nn.Parameter) else Tensor
    return type(tensor) is kind and tensor.dtype == torch.float32 and tensor.device.type == "cpu"


@cache
def _is_quicker() -> bool:
    """Whether torch takes MKL here on a processor that is not Intel's, and oneDNN's products are right."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()) or vendor() == _INTEL:
        return False
    with _disable_current_modes():  # whoever asks first may count tensors, or have none with numbers
        x, weight = (torch.arange(n * 24, dtype=torch.float32).sin().reshape(n, 24) for n in (5, 48))
        found = (multiplied(x, form, None) for form in (weight, laid_out(weight)))
        return all(torch.allclose(one, x @ weight.t(), atol=1e-5) for one in found)


def vendor() -> str:
    """Who made this processor, as Linux names them; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
