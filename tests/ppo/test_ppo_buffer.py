"""Minibatches and micro-batches read every row once and lose nothing but padding."""

from dataclasses import fields
from itertools import zip_longest

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from ppo_helpers import normal, ragged, seeds

from models.batch import TokenBatch
from ppo.buffer import RolloutBuffer
from ppo.parallel import World


def random_buffer(prompt_lengths: list[int], response_lengths: list[int], seed: int) -> RolloutBuffer:
    """A buffer whose ids tell their row: row·1000 + column."""
    prompt_mask = ragged(prompt_lengths, max(prompt_lengths) + 1).flip(1)
    response_mask = ragged(response_lengths, max(response_lengths) + 2)
    rows = torch.arange(len(prompt_lengths))[:, None] * 1000
    numbers = [normal(response_mask.shape, seed + i) for i in range(6)]
    names = ("old_logprobs", "ref_logprobs", "old_values", "advantages", "returns", "weights")
    return RolloutBuffer(
        tokens=TokenBatch(
            rows + torch.arange(prompt_mask.shape[1]),
            prompt_mask,
            rows + torch.arange(response_mask.shape[1]),
            response_mask,
        ),
        **dict(zip(names, numbers, strict=True)),
        problem_ids=[f"p{row}" for row in range(len(prompt_lengths))],
        outcomes=[f"o{row}" for row in range(len(prompt_lengths))],
    )


shapes = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=8)


def flat(buffer: RolloutBuffer) -> dict[str, list]:
    """What is inside the masks, row by row."""
    found: dict[str, list] = {"problem": list(buffer.problem_ids), "outcome": list(buffer.outcomes)}
    for name, x in tensors(buffer).items():
        mask = buffer.tokens.prompt_mask if name.startswith("prompt") else buffer.response_mask
        found[name] = [row[m].tolist() for row, m in zip(x, mask, strict=True)]
    return found


def tensors(buffer: RolloutBuffer) -> dict[str, torch.Tensor]:
    """Every tensor that it holds, by name."""
    found = {f.name: getattr(buffer, f.name) for f in fields(buffer)}
    return buffer.tokens._asdict() | {name: x for name, x in found.items() if isinstance(x, torch.Tensor)}


@given(shapes, seeds, st.integers(1, 9))
def test_micro_batches_are_the_rows_without_common_padding(shape, seed, size):
    """Check 11: all rows by their length, at most `size` at a time, every real token and number kept."""
    buffer = random_buffer([p for p, _ in shape], [r for _, r in shape], seed)
    pieces = list(buffer.micro_batches(size))
    order = sorted(range(len(shape)), key=lambda row: sum(shape[row]))
    whole = flat(buffer)
    for name, rows in whole.items():
        assert [row for piece in pieces for row in flat(piece)[name]] == [rows[row] for row in order]
    assert all(len(piece) <= size for piece in pieces)
    for piece in pieces:
        assert piece.tokens.prompt_mask.any(dim=0)[0]  # no column of padding in front, and none behind
        assert piece.response_mask.any(dim=0)[-1] or piece.response_mask.shape[1] == 1


@given(shapes, st.integers(1, 3), st.integers(1, 9))
def test_ranks_have_all_rows_and_as_much_to_read(shape, ranks, size):
    """Dealt out by length: the n-th text of a rank is no longer than the next rank's."""
    assume(len(shape) >= ranks)  # as the command line sees to
    buffer = random_buffer([p for p, _ in shape], [r for _, r in shape], 0)
    dealt = []
    for rank in range(ranks):
        pieces = buffer.micro_batches(size, World(rank, ranks).dealt)
        dealt.append([row for piece in pieces for row in piece.problem_ids])
    assert sorted(row for rows in dealt for row in rows) == sorted(buffer.problem_ids)
    in_turn = [row for turn in zip_longest(*dealt) for row in turn if row is not None]
    lengths = [sum(shape[int(row[1:])]) for row in in_turn]
    assert lengths == sorted(lengths)


@given(seeds)
def test_an_epoch_reads_every_row_once(seed):
    """Check 11: minibatches partition the rollout, in an order that the generator decides."""
    buffer = random_buffer([2] * 12, [3] * 12, 0)
    generator = torch.Generator().manual_seed(seed)
    epochs = [
        [
            int(i) // 1000
            for batch in buffer.minibatches(4, generator)
            for i in batch.tokens.response_ids[:, 0]
        ]
        for _ in range(3)
    ]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    again = torch.Generator().manual_seed(seed)
    first = [
        int(i) // 1000 for batch in buffer.minibatches(4, again) for i in batch.tokens.response_ids[:, 0]
    ]
    assert first == epochs[0]


def test_rows_keep_every_field_together():
    """Row i of every tensor belongs to response i."""
    buffer = random_buffer([1, 2, 3], [3, 2, 1], 0)
    picked = buffer.rows(torch.tensor([2, 0]))
    assert len(tensors(buffer)) >= 10
    for name, x in tensors(buffer).items():
        assert torch.equal(tensors(picked)[name], x[[2, 0]]), name
    assert picked.problem_ids == ["p2", "p0"] and picked.outcomes == ["o2", "o0"]
    assert picked.rows(torch.tensor([1])).problem_ids == ["p0"]
    assert list(picked.by_outcome()) == ["o0", "o2"] and picked.by_outcome()["o0"].tolist() == [
        [False],
        [True],
    ]
