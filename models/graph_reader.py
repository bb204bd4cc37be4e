"""Decoding by CUDA graphs: the kernels of one step are recorded once, and a step is one call.

Run kernel by kernel a step of a small model waits for Python: a model of 24 layers starts some two thousand.
A graph repeats them on the same addresses, without asking the host for anything. So all that a step reads and
writes stays in its place: tokens, positions, mask, the cache (models/static_cache.py) and the weights, which
are only ever changed where they are.

A graph is of a number of rows and of places that are looked at. The places grow by `PLACES` at a time, and
the rows are halved when enough texts have ended, so a rollout records a handful; they share their memory.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from models.reader import Reader
from models.static_cache import static_cache
from models.step_attention import one_token_at_a_time

PLACES = 256
"""A step looks at places in multiples of this: at half of it too many, on average."""


def in_whole_pieces(places: int) -> int:
    """So many places, or as many more as fill the last piece."""
    return -(-places // PLACES) * PLACES


@cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream on which steps are recorded: the matrix library keeps a workspace for each stream
    that it has seen, on an H100 of 32 MiB."""
    return torch.cuda.Stream(device)


class StaticSteps:
    """Steps of at most B texts of at most L tokens, in memory that they keep.

    A step is what `_pass` does, and it may be done again: where it writes is set before it, not within. That
    is why it can be run to warm up and recorded without leaving a trace.
    """

    def __init__(self, network: Any, rows: int, places: int, *, record: bool) -> None:
        """`record` False: the same steps kernel by kernel, for tests and on any device."""
        longest = getattr(network.config.get_text_config(), "max_position_embeddings", None) or places
        self.rows, self.places = rows, max(places, min(longest, in_whole_pieces(places)))
        self._decoder, self._record = network.get_decoder(), record
        device = network.get_input_embeddings().weight.device
        self._at = torch.zeros(1, dtype=torch.long, device=device)
        self.cache = static_cache(rows, self.places, self._at)
        self._tokens = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self._mask = torch.empty(0, device=device)  # (B, 1, 1, L) 0 or the lowest number; by `begin`
        self._positions: dict[str, Tensor] = {}  # (B, 1)
        self._in_use = self._length = 0
        self._graphs: dict[tuple[int, int], tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        if record:
            self._stream, self._pool = _recording_stream(device), torch.cuda.graph_pool_handle()

    def hold(self, rows: int, places: int) -> bool:
        """Whether there is room for so many texts of so many tokens."""
        return rows <= self.rows and places <= self.places

    def begin(self, prompt_mask: Tensor, positions: dict[str, Tensor]) -> None:
        """Go on from prompts (b, P) that the cache has read; `positions` (b, 1) of their last tokens."""
        rows, width = prompt_mask.shape
        dtype = self.cache.layers[0].keys.dtype
        if self._mask.dtype != dtype or not self._mask.numel():
            self._mask = torch.empty(self.rows, 1, 1, self.places, dtype=dtype, device=prompt_mask.device)
            self._positions = {name: place.new_zeros(self.rows, 1) for name, place in positions.items()}
        self._mask.fill_(torch.finfo(dtype).min)
        self._mask[:rows, 0, 0, :width].masked_fill_(prompt_mask.bool(), 0.0)
        for name, place in positions.items():
            # Rows out of use are read too, and must not go beyond the positions that the model knows.
            self._positions[name].zero_()[:rows] = place
        self._in_use, self._length = rows, width

    def step(self, tokens: Tensor) -> Tensor:
        """Read one more token of each text, (b,). The final states (b, H), for the caller to keep."""
        self._tokens[: len(tokens), 0] = tokens
        self._at.fill_(self._length)
        self._mask[..., self._length].zero_()  # of all rows: where nothing is visible there is no softmax
        for place in self._positions.values():
            place += 1
        self._length += 1
        rows = self._bucket(self._in_use)
        places = min(self.places, in_whole_pieces(self._length))
        states = self._replay(rows, places) if self._record else self._pass(rows, places)
        return states[: len(tokens)].clone()

    def keep(self, rows: Tensor) -> None:
        """Go on with these texts alone, in this order."""
        self.cache.batch_select_indices(rows)
        for held in (self._mask, *self._positions.values()):
            held[: len(rows)] = held[rows]
        self._in_use = len(rows)

    def shrinks(self, staying: int) -> bool:
        """Whether so many rows are run by a smaller graph than those in use."""
        return self._bucket(staying) < self._bucket(self._in_use)

    @property
    def recorded(self) -> list[tuple[int, int]]:
        """Rows and places of the graphs there are."""
        return sorted(self._graphs)

    @property
    def nbytes(self) -> int:
        """What the cache takes; the graphs' own memory is that of one step."""
        return sum(layer.nbytes for layer in self.cache.layers)

    def _bucket(self, rows: int) -> int:
        """B, or the smallest of its halves, quarters, … that holds so many rows."""
        bucket = self.rows
        while rows <= -(-bucket // 2) < bucket:
            bucket = -(-bucket // 2)
        return bucket

    def _pass(self, rows: int, places: int) -> Tensor:
        """The final states (rows, H) after the tokens that stand ready."""
        for layer in self.cache.layers:
            layer.visible = places
        with one_token_at_a_time(self._decoder):
            output = self._decoder(
                input_ids=self._tokens[:rows],
                attention_mask=self._mask[:rows, ..., :places],
                past_key_values=self.cache,
                use_cache=True,
                **{name: place[:rows] for name, place in self._positions.items()},
            )
        return output.last_hidden_state[:, -1]

    def _replay(self, rows: int, places: int) -> Tensor:
        if (rows, places) not in self._graphs:
            self._graphs[rows, places] = self._capture(rows, places)
        graph, states = self._graphs[rows, places]
        graph.replay()
        return states

    def _capture(self, rows: int, places: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Record a step. First it is run, on the same stream: libraries take their workspaces then, which
        must not lie in the graph's memory."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            self._pass(rows, places)
        here.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # Threads that have nothing to do with it may go on using the device.
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            states = self._pass(rows, places)
        return graph, states


class GraphReader(Reader):
    """A reader whose steps are recorded."""

    look_every = 16

    def __init__(
        self, network: Any, max_new_tokens: int, steps: StaticSteps, *, share_head: bool = False
    ) -> None:
        """`steps`: of the same network, with room for the texts."""
        super().__init__(network, max_new_tokens, share_head=share_head)
        self._steps = steps

    def start(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
        """As `Reader.start`; the prompts are read into the static cache at once."""
        states = super().start(prompt_ids, prompt_mask)
        self._steps.begin(prompt_mask, self._last)
        return states

    def step(self, tokens: Tensor) -> Tensor:
        """As `Reader.step`."""
        return self._steps.step(tokens)

    def keep(self, rows: Tensor) -> None:
        """As `Reader.keep`."""
        self._steps.keep(rows)

    def drops(self, staying: int) -> bool:
        """Only where a smaller graph can go on."""
        return self._steps.shrinks(staying)

    def _fresh_cache(self, room: int) -> Cache:
        for layer in self._steps.cache.layers:
            layer.reset()
        return self._steps.cache
