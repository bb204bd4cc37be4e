"""Log-probabilities under an output layer that is not trained: logits a piece at a time, none of them kept.

The plain form (models/logprobs.py) forgets the logits of a piece as well, and computes them again in the
backward pass. Where the layer is frozen that is not needed. All that the gradient of a log-probability needs
of the vocabulary is one vector of the width of a hidden state,

    d log p[y] / d h  =  scale · (W[y] − Σᵥ p[v]·W[v]),

and p is at hand when the log-probability is: the vector is taken there and then, and kept.

On a Llama of 256 x 4 with 4,096 ids an update takes 0.93 of the time and scoring 0.95, on SmolLM2-135M with
49,152 an update 0.98. Together with models/low_rank.py the peak of an update falls by 46 and by 30 %.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.head import Head
from models.products import product
from models.shortcuts import Shortcut

FROZEN_HEAD = Shortcut("log-probabilities without kept logits")

# Logits of a piece: at most 64 MiB in float32.
_LOGITS = 2**24

# And on the CPU no more tokens than these: the logits should lie in the cache, and yet enough tokens share
# one reading of the weights. At 4,096 ids 128 tokens are best (31 ms of 512 tokens; 64: 36, 512: 48), at
# 49,152 more would gain little (395 ms of 256 tokens; 32: 657, 256: 376). A GPU starts ten kernels a piece.
_CPU_TOKENS = 128


def knows(head: Head | nn.Linear) -> bool:
    """Whether a head is of the kind that has this way: a linear layer, its logits scaled at most."""
    project: Any = head.project if isinstance(head, Head) else head
    capped = isinstance(head, Head) and not math.isinf(head.cap)
    return type(project) is nn.Linear and getattr(project, "bias", None) is None and not capped


def fits(head: Head | nn.Linear, hidden: Tensor, *, entropy_grad: bool) -> bool:
    """Whether `frozen_logprobs` says of these states what the plain form says: values and gradients."""
    if not FROZEN_HEAD.on or not knows(head):
        return False
    gradient = torch.is_grad_enabled() and (head.weight.requires_grad or entropy_grad)
    # Autocast rounds what enters a layer, to its own format; here nothing is rounded that is not already so.
    device = hidden.device.type
    casts = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) != hidden.dtype
    return not (gradient or casts) and head.weight.dtype == hidden.dtype


def frozen_logprobs(
    hidden: Tensor, head: Head | nn.Linear, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """As `models.logprobs.token_logprobs`, where `fits`. The entropy carries no gradient."""
    scale = (head.scale if isinstance(head, Head) else 1.0) / temperature
    weight = head.weight.detach()
    with torch.autocast(hidden.device.type, enabled=False):  # it would round what is summed in float32
        if torch.is_grad_enabled() and hidden.requires_grad:
            return _FrozenLogprobs.apply(hidden, weight, targets, scale)
        logprobs, entropy, _ = _in_pieces(hidden.detach(), weight, targets, scale, gradient=False)
    return logprobs, entropy


class _FrozenLogprobs(torch.autograd.Function):
    """`_in_pieces` with its gradient."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        logprobs, entropy, falls = _in_pieces(hidden, weight, targets, scale, gradient=True)
        ctx.save_for_backward(falls)
        ctx.scale = scale
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        (falls,) = ctx.saved_tensors
        # In float32, rounded at the end. What float16 cannot hold becomes inf, and the loss scaler sees it.
        return (falls * (-ctx.scale * gradient)[:, None]).to(falls.dtype), None, None, None


def _in_pieces(
    hidden: Tensor, weight: Tensor, targets: Tensor, scale: float, *, gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities and entropies, (N,) float32, and (N, H) what `_piece` puts into `falls`."""
    numbers, vocabulary = hidden.shape[0], weight.shape[0]
    logprobs = torch.empty(numbers, dtype=torch.float32, device=hidden.device)
    entropy = torch.empty_like(logprobs)
    falls = torch.empty_like(hidden) if gradient else hidden.new_empty(numbers, 0)
    size = max(1, _LOGITS // vocabulary)
    if hidden.device.type == "cpu":
        size = min(size, _CPU_TOKENS)
    for start in range(0, numbers, size):
        _piece(weight, scale, *(x[start : start + size] for x in (hidden, targets, logprobs, entropy, falls)))
    return logprobs, entropy, falls


def _piece(
    weight: Tensor,
    scale: float,
    hidden: Tensor,
    targets: Tensor,
    logprobs: Tensor,
    entropy: Tensor,
    falls: Tensor,
) -> None:
    """Fill in the last three for n tokens. In `falls`, unless it has no width, the way in which each
    log-probability falls: Σᵥ (p[v] − [v = y])·W[v].

    The difference is taken in float32, before it is rounded: of a token that is all but certain, p[y] − 1
    would be lost in 16 bits, and W[y] − Σ p·W is nothing but that.
    """
    ids = targets[:, None]  # (n, 1)
    logits = product(hidden, weight).float()  # (n, V)
    if scale != 1.0:
        logits *= scale
    logits -= logits.amax(dim=-1, keepdim=True)
    p = logits.exp()
    total = p.sum(dim=-1)  # (n,)
    p /= total[:, None]
    logprobs.copy_(logits.gather(-1, ids).squeeze(-1) - total.log())
    entropy.copy_(total.log() - logits.mul_(p).sum(dim=-1))  # in place: no further (n, V)
    if falls.shape[1]:
        p.scatter_add_(-1, ids, p.new_full(ids.shape, -1.0))
        falls.copy_(product(p.to(weight.dtype), weight.t()))
