"""Which way a network decodes: step by step as it comes, or by recorded steps (models/graph_reader.py).

Recorded steps suit networks that see what the mask and the positions say and nothing else, and whose kernels
are the same at every step. Both is tried, once, at load: the states of a few recorded steps against the plain
reader's.
"""

import inspect
import logging
import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.errors import ModelError, out_of_memory
from models.graph_reader import GraphReader, StaticSteps
from models.precision import Precision
from models.reader import Reader

# Of two final states, relative to their size: what rounding in another order does, with room. A wrong mask or
# place is a difference of the size of the states themselves.
_CLOSE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}

# Settings that bound how far back attention looks. Shorter texts are not touched by them.
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")

# Operators whose result's size or value the host waits for: a graph cannot hold them.
_ASKING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::equal",
}


class Decoding:
    """Makes the readers of one network, and keeps the memory of recorded steps for the next of them."""

    def __init__(self, network: Any, precision: Precision, *, lasting: bool) -> None:
        """`lasting`: whether the network's weights are read where they are. Under autocast those in another
        format are read from copies that last as long as its context.

        Raises:
            ModelError: graphs are asked for, and the network does not fit.
        """
        self._network, self._lasting = network, lasting
        self._reach = reach(network)
        self._steps: StaticSteps | None = None
        self._read_from: list[int] = []  # where the weights lay when the steps were made
        self.plain_because = ""
        """Why a network on a GPU decodes kernel by kernel unasked; empty if it does not."""
        self._recording = precision.records
        if self._recording and (reason := why_not_recorded(network, precision, record=True)):
            if precision.decode == "graph":
                raise ModelError(f"--decode graph: {type(network).__name__}: {reason}; use auto or eager")
            self._recording, self.plain_because = False, reason
            logging.getLogger(__name__).info(
                "%s decodes kernel by kernel: %s", type(network).__name__, reason
            )

    def reader(self, rows: int, width: int, new_tokens: int, *, share_head: bool) -> Reader:
        """For prompts (rows, width), and so many tokens more."""
        places = width + new_tokens
        if not self._recording or places > self._reach:
            return Reader(self._network, new_tokens, share_head=share_head)
        weights = [tensor.data_ptr() for tensor in (*self._network.parameters(), *self._network.buffers())]
        if self._steps is None or not self._steps.hold(rows, places) or weights != self._read_from:
            self.release()  # first, for the other to take its place
            self._steps, self._read_from = StaticSteps(self._network, rows, places, record=True), weights
        return GraphReader(self._network, new_tokens, self._steps, share_head=share_head)

    def done(self) -> None:
        """A batch is decoded: give back what the next could not use."""
        if not self._lasting:
            self.release()

    def release(self) -> None:
        """Give the memory back: something else needs it now."""
        self._steps = None

    @property
    def nbytes(self) -> int:
        """What is kept."""
        return 0 if self._steps is None else self._steps.nbytes


def reach(network: Any) -> float:
    """Up to how many tokens attention sees all of a text; inf where there is no limit."""
    config = network.config.get_text_config()
    limits = [limit for key in _WINDOWS if isinstance(limit := getattr(config, key, None), int) and limit > 0]
    return min(limits, default=math.inf)


@torch.no_grad()
def why_not_recorded(network: Any, precision: Precision, *, record: bool) -> str:
    """Why steps of this network cannot be recorded; empty where they can.

    `record` False: without recording any, on any device; then what would stop the recording is asked for.
    """
    takes_positions = "position_ids" in inspect.signature(network.get_decoder().forward).parameters
    if not takes_positions or getattr(network.config.get_text_config(), "alibi", False):
        return "its attention fades with distance, whatever the positions"
    was_training = network.training
    network.eval()  # in training mode gradient checkpointing would switch the cache off
    try:
        with precision.autocast():
            return _try(network, precision, record=record)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        lines = str(error).strip().splitlines() or [""]
        return f"it cannot be run so ({type(error).__name__}: {lines[0]})"
    finally:
        network.train(was_training)


def _try(network: Any, precision: Precision, *, record: bool) -> str:
    """Four steps of three texts, one of them shorter and one of them twice, by both readers."""
    weight = network.get_input_embeddings().weight
    new_tokens = 4
    prompts = (17 * torch.arange(36, device=weight.device) + 5).remainder(weight.shape[0]).reshape(3, 12)
    prompts[2] = prompts[0]
    mask = torch.ones_like(prompts, dtype=torch.bool)
    mask[1, :5] = False
    plain = Reader(network, new_tokens)
    steps = StaticSteps(network, 3, 12 + new_tokens, record=record)
    recorded = GraphReader(network, new_tokens, steps)
    pairs = [(plain.start(prompts, mask), recorded.start(prompts, mask))]
    asking = _Asking()
    for t in range(new_tokens):
        expected = plain.step(prompts[:, t])
        with nullcontext() if record else asking:
            pairs.append((expected, recorded.step(prompts[:, t])))
    if asking.found:
        return f"a step of it waits for its own results ({', '.join(sorted(asking.found))})"
    apart = max(_apart(found, expected) for expected, found in pairs)
    return "" if apart <= _CLOSE[precision.dtype] else "it heeds more than the mask and the positions"


def _apart(found: Tensor, expected: Tensor) -> float:
    """How far two states are from each other, relative to their size."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


class _Asking(TorchDispatchMode):
    """Takes down the operators whose results the host has to see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        by_mask = name == "aten::index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in _ASKING or by_mask:
            self.found.add(name)
        return func(*args, **(kwargs or {}))
