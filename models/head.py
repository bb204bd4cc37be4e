"""From the last hidden state to the logits, as the model itself goes there.

Log-probabilities are taken from hidden states, piece by piece (models/logprobs.py), and so go past what the
model's own forward pass does around its output layer. Most models do nothing there. Granite divides the
logits, Cohere multiplies them, Gemma 2 caps them softly, MiniCPM3 divides the hidden states. All of these are

    logits = cap · tanh(scale · W h / cap),      with an infinite cap: scale · W h.

Which one it is, is asked of the model: its forward pass runs once with rulers in the place of its hidden
states and of what its output layer returns, and what becomes of them is read off.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import MISFIT, ModelError, out_of_memory

# Powers of two pass through every number format unchanged. The smallest is in the straight part of any soft
# cap, the largest beyond it.
_SMALL, _LARGE = 2.0**-10, 2.0**15
_RULER = (_SMALL, 1.0, -1.0, 4.0, -8.0, 16.0, -64.0, _LARGE, -_LARGE)


@dataclass(frozen=True)
class Head:
    """A model's output layer, with what the model does around it."""

    project: Any
    """H to the vocabulary"""
    scale: float = 1.0
    cap: float = math.inf
    """The soft limit of the logits' size"""

    @property
    def weight(self) -> Tensor:
        """(V, H)"""
        return self.project.weight

    def __call__(self, hidden: Tensor) -> Tensor:
        """(N, H) to the model's logits (N, V), in float32: their differences are exponentiated later."""
        logits = self.project(hidden).float()
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if math.isinf(self.cap) else self.cap * torch.tanh(logits / self.cap)


@torch.no_grad()
def find_head(network: Any) -> Head:
    """The head of a causal language model of transformers.

    Raises:
        ModelError: between its hidden states and its logits it does something else than scale and cap.
    """
    name, project = type(network).__name__, network.get_output_embeddings()
    if project is None or not isinstance(getattr(project, "weight", None), Tensor):
        raise ModelError(f"{name}: has no output layer from which log-probabilities could be taken")
    with unknown_ways(network):
        states, given, returned, logits = _follow_rulers(network, project)
    before = _scale_of(states, given)
    after, cap = _read_off(returned, logits)
    if before is None or after is None or (before != 1.0 and getattr(project, "bias", None) is not None):
        raise ModelError(
            f"{name}: what it does between its last hidden state and its logits is neither a scale nor a "
            "soft cap: its log-probabilities cannot be taken here"
        )
    return Head(project, before * after, cap)


def _follow_rulers(network: Any, project: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rulers sent through the forward pass: hidden states and what the output layer was given of them,
    what it returned and the logits that became of it."""
    seen: dict[str, Tensor] = {}

    def replace_states(module: nn.Module, args: Any, output: Any) -> Any:
        seen["states"] = _ruler_like(output.last_hidden_state)
        output.last_hidden_state = seen["states"]
        return output

    def take_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen["given"] = args[0]
        return (args[0].to(network.dtype), *args[1:])

    def replace_output(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        seen["returned"] = _ruler_like(output)
        return seen["returned"]

    ids = torch.arange(2 * len(_RULER), device=project.weight.device)[None]  # (1, L)
    with ExitStack() as hooks, torch.autocast(ids.device.type, enabled=False):
        hooks.callback(network.get_decoder().register_forward_hook(replace_states).remove)
        hooks.callback(project.register_forward_pre_hook(take_input).remove)
        hooks.callback(project.register_forward_hook(replace_output).remove)
        seen["logits"] = network(input_ids=ids, use_cache=False).logits
    if len(seen) < 4:
        raise ModelError(
            f"{type(network).__name__}: its logits do not come from its decoder through its output layer: "
            "its log-probabilities cannot be taken here"
        )
    return seen["states"], seen["given"], seen["returned"], seen["logits"]


def _ruler_like(tensor: Tensor) -> Tensor:
    """The ruler again and again in the shape of `tensor`, in float32."""
    marks = torch.tensor(_RULER, device=tensor.device)
    return marks[torch.arange(tensor.numel(), device=tensor.device) % len(marks)].reshape(tensor.shape)


def _read_off(ruler: Tensor, logits: Tensor) -> tuple[float | None, float]:
    """Scale and cap that turn `ruler` into `logits`; the scale is None where none do."""
    if ruler.shape != logits.shape:
        return None, math.inf
    if (scale := _scale_of(ruler, logits)) is not None:
        return scale, math.inf
    cap = logits.max().item()
    # Through the nearest mark to 0 alone: there the cap is not felt.
    near = logits.flatten()[0].item() / _SMALL
    scale = 1.0 if math.isclose(near, 1.0, rel_tol=1e-4) else near
    fits = cap > 0 and torch.allclose(logits, cap * torch.tanh(scale * ruler / cap), rtol=1e-4, atol=0)
    return (scale if fits else None), cap


def _scale_of(ruler: Tensor, scaled: Tensor) -> float | None:
    """The number that turns `ruler` into `scaled`; None where there is none."""
    if ruler.shape != scaled.shape:
        return None
    scale = (scaled.flatten()[0] / ruler.flatten()[0]).item()
    return scale if torch.allclose(scaled.float(), scale * ruler, rtol=1e-5, atol=0) else None


@contextmanager
def unknown_ways(model: object) -> Iterator[None]:
    """Say in one line what a model answers to a way of calling it that it does not know.

    Around first calls only: there any of these means that the architecture does not fit.
    """
    try:
        yield
    except ModelError:
        raise
    except MISFIT as error:
        if out_of_memory(error):
            raise
        raise ModelError(
            f"{type(model).__name__}: cannot be run as PPO needs it: {type(error).__name__}: {error}"
        ) from error
