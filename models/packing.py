"""Many texts as one sequence: no padding, and what they begin with alike is there once.

On a CPU time goes by tokens. Of a batch of rows a third is padding, and every prompt of a run begins with the
same template and instruction. So the texts of some rows are laid out as one sequence

    head | rest of prompt 1 | rest of prompt 2 | ... | response 1a | response 1b | response 2a | ...

in which each token sees itself and what comes before it in its own text, and has its place in that. A token
pays for attention to the whole sequence, seen or not, so that is kept short; a GPU would rather have rows.
And so would a CPU for texts of one length that share nothing: packed, they are as many tokens in more calls,
and an update of 16 such texts takes a fourth longer. So it is counted first.
"""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.batch import TokenBatch
from models.errors import MISFIT, out_of_memory
from models.last_layer import reading
from models.precision import Precision
from models.rows import row_states

# Of two final states, relative to their size: what rounding in another order does, with room.
_CLOSE = 1e-3

# Settings under which attention looks at more than mask and positions: windows, and distances by the row.
_ROW_BOUND = ("sliding_window", "attention_chunk_size", "window_size", "keep_window_size", "alibi")

# Below this width a layer's products cost no more than attention to a sequence worth packing.
_MIN_WIDTH = 256

# Of the work for rows: what is packed is seen through a mask, which costs more than to see all before.
_WORTH_IT = 0.95

_Row = tuple[tuple[int, ...], list[int]]  # a prompt and a response


class _Layout(NamedTuple):
    """The sequence of L tokens."""

    ids: Tensor
    """(L,)"""
    positions: Tensor
    """(L,) of each token in its text"""
    sees: Tensor
    """(L, L) bool: whether the token of the row sees that of the column"""
    places: Tensor
    """(N,) where each response token was chosen: at the token before it"""


def packed_states(network: Any, batch: TokenBatch, limit: int) -> Tensor:
    """Final hidden states from which each response token was chosen: (N, H), row by row.

    Args:
        batch: with at least one response token.
        limit: tokens of one sequence, as `pack_limit` says; more only where a single row has more.
    """
    states = []
    for piece in _pieces(_rows(batch), limit):
        layout = _lay_out(piece)
        states.append(_run(network, layout))
    return torch.cat(states)


def packing_saves(batch: TokenBatch, limit: int) -> bool:
    """Whether a layer has clearly less to do for the texts packed than as rows.

    Args:
        limit: of `pack_limit`, which is the network's width.
    """

    def work(tokens: int) -> int:
        return tokens * (6 * limit + tokens)  # in units of 4 · width operations: products, and attention

    rows = _rows(batch)
    length = max((len(prompt) + len(response) - 1 for prompt, response in rows), default=0)
    packed = sum(work(_tokens(piece)) for piece in _pieces(rows, limit))
    return packed < _WORTH_IT * len(batch.prompt_ids) * work(length)


def _rows(batch: TokenBatch) -> list[_Row]:
    """The texts that have a response."""
    return [
        (tuple(prompt[real].tolist()), response[chosen].tolist())
        for prompt, real, response, chosen in zip(*batch, strict=True)
        if chosen.any()
    ]


def _tokens(rows: list[_Row]) -> int:
    """How many `_lay_out` makes of them."""
    distinct = list(dict.fromkeys(prompt for prompt, _ in rows))
    shared = in_common(distinct) * (len(distinct) - 1)
    return sum(map(len, distinct)) - shared + sum(len(response) - 1 for _, response in rows)


def _run(network: Any, layout: _Layout) -> Tensor:
    """Final hidden states from which the response tokens were chosen: (N, H)."""
    dtype = network.get_input_embeddings().weight.dtype
    blocked = torch.zeros(layout.sees.shape, dtype=dtype)
    blocked = blocked.masked_fill(~layout.sees, torch.finfo(dtype).min)
    with reading(network, layout.places, len(layout.ids)):
        states = network.get_decoder()(
            input_ids=layout.ids[None],
            attention_mask=blocked[None, None],
            position_ids=layout.positions[None],
            use_cache=False,
        ).last_hidden_state[0]
    return states[layout.places]


def pack_limit(network: Any, precision: Precision) -> int:
    """How long a sequence of packed texts may be; 0 for a network whose texts are better not packed.

    They are on the CPU in float32, where layers are wide and the network heeds mask and positions. That is
    tried, on texts that share a beginning and on others; no generator is drawn from. Windows of attention
    would not show in so short a trial: a configuration that has one is believed.
    """
    config = network.config.get_text_config()
    width: int = network.get_input_embeddings().weight.shape[1]
    windowed = any(getattr(config, key, None) for key in _ROW_BOUND)
    takes_positions = "position_ids" in inspect.signature(network.get_decoder().forward).parameters
    on_cpu = precision.device.type == "cpu" and precision.exact
    if not on_cpu or width < _MIN_WIDTH or windowed or not takes_positions:
        return 0
    # A token costs 24 width^2 operations a layer, and 4 width for each token of the sequence: so a sixth.
    return width if heeds_packing(network) else 0


@torch.no_grad()
def heeds_packing(network: Any) -> bool:
    """Whether final states of packed texts are those of rows; not, where a network cannot be run so."""
    vocabulary = network.get_input_embeddings().weight.shape[0]
    ids = (17 * torch.arange(3 * 12) + 5).remainder(vocabulary).reshape(3, 12)
    ids[1, :7], ids[2, :4] = ids[0, :7], ids[0, :4]  # a prompt in common, and a beginning
    every = torch.ones_like(ids, dtype=torch.bool)
    batch = TokenBatch(ids[:, :7], every[:, :7], ids[:, 7:], every[:, 7:])
    try:
        rows, packed = row_states(network, batch), packed_states(network, batch, limit=64)  # (N, H)
    except MISFIT as error:
        if out_of_memory(error):
            raise
        return False
    return bool((packed - rows).norm() <= _CLOSE * rows.norm())


def _pieces(rows: list[_Row], limit: int) -> Iterator[list[_Row]]:
    """The rows in their order, cut into runs of at most `limit` tokens; a prompt counts once in each."""
    piece: list[_Row] = []
    prompts: set[tuple[int, ...]] = set()
    tokens = 0
    for prompt, response in rows:
        more = len(response) + (0 if prompt in prompts else len(prompt))
        if piece and tokens + more > limit:
            yield piece
            piece, prompts, tokens = [], set(), 0
            more = len(response) + len(prompt)
        piece.append((prompt, response))
        prompts.add(prompt)
        tokens += more
    if piece:
        yield piece


def _lay_out(rows: list[_Row]) -> _Layout:
    """The tree of texts as a sequence. Of a response the last token is left out: nothing follows it."""
    distinct = list(dict.fromkeys(prompt for prompt, _ in rows))
    head = in_common(distinct)
    ids, positions, parts = list(distinct[0][:head]), list(range(head)), [0] * head
    parents = [0]  # part -> the one that it goes on from; part 0 is the head
    last, part_of = {}, {}
    for prompt in distinct:
        part_of[prompt] = len(parents)
        parents.append(0)
        ids += prompt[head:]
        positions += range(head, len(prompt))
        parts += [part_of[prompt]] * (len(prompt) - head)
        last[prompt] = len(ids) - 1
    places: list[int] = []
    for prompt, response in rows:
        places += [last[prompt], *range(len(ids), len(ids) + len(response) - 1)]
        ids += response[:-1]
        positions += range(len(prompt), len(prompt) + len(response) - 1)
        parts += [len(parents)] * (len(response) - 1)
        parents.append(part_of[prompt])
    own = torch.eye(len(parents), dtype=torch.bool)
    parent = torch.tensor(parents)
    within = own | own[parent] | own[parent[parent]]  # (parts, parts): itself, its prompt, the head
    part = torch.tensor(parts)
    earlier = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    sees = within[part][:, part] & earlier
    return _Layout(torch.tensor(ids), torch.tensor(positions), sees, torch.tensor(places))


def in_common(prompts: list[tuple[int, ...]]) -> int:
    """With how many tokens all prompts begin; the last token of each is not counted."""
    count = 0
    for tokens in zip(*(prompt[:-1] for prompt in prompts), strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count
