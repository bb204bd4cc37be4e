"""Which way a network decodes: step by step as it comes, or in a way that fits many networks and not all.

On a GPU steps are recorded (models/graph_reader.py). That suits networks that see what the mask and the
positions say and nothing else, and whose kernels are the same at every step. On the CPU in float32 they are
short (models/short_steps.py): that suits networks of Llama's form. Both is tried, once, at load: the states
of a few steps against the plain reader's.
"""

import inspect
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.errors import MISFIT, ModelError, out_of_memory
from models.graph_reader import GraphReader, StaticSteps
from models.precision import Precision
from models.reader import Reader
from models.short_steps import SHORT_STEPS, ShortReader, has_form

# Of two final states, relative to their size: what rounding in another order does, with room. A wrong mask or
# place is a difference of the size of the states themselves.
_CLOSE = {torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 1e-1}

# Texts of a trial, and their tokens.
_TEXTS, _WIDTH = 3, 12

# Settings that bound how far back attention looks. Shorter texts are not touched by them.
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "keep_window_size")

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
        """Why a network decodes the plain way unasked; empty if it does not."""
        self._recording = precision.records
        if self._recording and (reason := why_not_recorded(network, precision, record=True)):
            if precision.decode == "graph":
                raise ModelError(f"--decode graph: {type(network).__name__}: {reason}; use auto or eager")
            self._recording, self.plain_because = False, reason
            logging.getLogger(__name__).info(
                "%s decodes kernel by kernel: %s", type(network).__name__, reason
            )
        self._short = precision.device.type == "cpu" and precision.exact
        if self._short and (reason := why_not_short(network, precision)):
            self._short, self.plain_because = False, reason
            logging.getLogger(__name__).info("%s decodes its own way: %s", type(network).__name__, reason)

    def reader(self, rows: int, width: int, new_tokens: int, *, share_head: bool) -> Reader:
        """For prompts (rows, width), and so many tokens more."""
        places = width + new_tokens
        if self._short and SHORT_STEPS.on and places <= self._reach:
            return ShortReader(self._network, new_tokens, share_head=share_head)
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


def why_not_recorded(network: Any, precision: Precision, *, record: bool) -> str:
    """Why steps of this network cannot be recorded; empty where they can.

    `record` False: without recording any, on any device; then what would stop the recording is asked for.
    """
    takes_positions = "position_ids" in inspect.signature(network.get_decoder().forward).parameters
    if not takes_positions or getattr(network.config.get_text_config(), "alibi", False):
        return "its attention fades with distance, whatever the positions"

    def trial() -> str:
        asking, new_tokens = _Asking(), 4
        steps = StaticSteps(network, _TEXTS, _WIDTH + new_tokens, record=record)
        reader = GraphReader(network, new_tokens, steps)
        agree = _agree(network, reader, precision, new_tokens, watch=None if record else asking)
        if asking.found:
            return f"a step of it waits for its own results ({', '.join(sorted(asking.found))})"
        return "" if agree else "it heeds more than the mask and the positions"

    return _tried(network, precision, trial)


def why_not_short(network: Any, precision: Precision) -> str:
    """Why steps of this network cannot be short; empty where they can."""
    if not has_form(network):
        return "its layers are not of Llama's form"

    def trial() -> str:
        # The last token stands far from the others: what grows with the place in a text shows there.
        longest = getattr(network.config.get_text_config(), "max_position_embeddings", None) or 0
        far = max(0, longest - _WIDTH - 2)
        agree = _agree(network, ShortReader(network, 2), precision, 2, far=far)
        return "" if agree else "its layers do more than those of Llama's form"

    return _tried(network, precision, trial)


@torch.no_grad()
def _tried(network: Any, precision: Precision, trial: Callable[[], str]) -> str:
    """What a trial says of a network that is about to decode, or what stopped it."""
    was_training = network.training
    network.eval()  # in training mode gradient checkpointing would switch the cache off
    try:
        with precision.autocast():
            return trial()
    except MISFIT as error:
        if out_of_memory(error):
            raise
        lines = str(error).strip().splitlines() or [""]
        return f"it cannot be run so ({type(error).__name__}: {lines[0]})"
    finally:
        network.train(was_training)


def _agree(
    network: Any,
    reader: Reader,
    precision: Precision,
    new_tokens: int,
    *,
    far: int = 0,
    watch: AbstractContextManager[Any] | None = None,
) -> bool:
    """Whether a reader has the plain reader's states: of three texts, one of them shorter and one of them
    twice, and after each of a few steps.

    `far`: places between the last token and the others. `watch`: around the reader's steps.
    """
    weight = network.get_input_embeddings().weight
    ids = 17 * torch.arange(_TEXTS * _WIDTH, device=weight.device) + 5
    prompts = ids.remainder(weight.shape[0]).reshape(_TEXTS, _WIDTH)
    prompts[2] = prompts[0]
    mask = torch.ones_like(prompts, dtype=torch.bool)
    mask[1, :5] = False
    plain = Reader(network, new_tokens)
    pairs = [(plain.start(prompts, mask), reader.start(prompts, mask))]
    for t in range(new_tokens):
        if far and t == new_tokens - 1:
            plain.skip(far)
            reader.skip(far)
        expected = plain.step(prompts[:, t])
        with watch or nullcontext():
            pairs.append((expected, reader.step(prompts[:, t])))
    return all(_apart(found, expected) <= _CLOSE[precision.dtype] for expected, found in pairs)


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
