"""The micro-batch that fits: halved before the first step, never after, and of no influence on the result."""

import pytest
import torch
from loop_helpers import ToyScorer, metrics_of, newest_checkpoint, run, toy_config
from ppo_helpers import small_config

from models.policy import Policy
from ppo.errors import TrainingError
from ppo.memory import fit_micro_batch
from ppo.run.folder import open_checkpoint


class Card:
    """Memory for so many responses at a time in a pass that keeps activations."""

    def __init__(self, policy: Policy, rows: int) -> None:
        self.rows = rows
        self.tried: list[tuple[int, int, int]] = []
        forward = policy.forward

        def limited(batch, *args, **settings):
            if torch.is_grad_enabled():
                self.tried.append((*batch.prompt_ids.shape, batch.response_ids.shape[1]))
                if len(batch.response_ids) > self.rows:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return forward(batch, *args, **settings)

        policy.forward = limited  # type: ignore[method-assign]


@pytest.mark.parametrize(("rows", "expected"), [(100, 8), (8, 8), (7, 4), (3, 2), (1, 1)])
def test_halved_until_it_fits(make_policy, rows, expected):
    """From the minibatch down, at full length; weights and gradients stay as they were."""
    policy = make_policy()
    card = Card(policy, rows)
    before = [p.detach().clone() for p in policy.parameters()]
    assert fit_micro_batch(policy, small_config(minibatch_size=8), prompt_tokens=9) == expected
    assert card.tried == [(8 >> n, 9, 7) for n in range(len(card.tried))]
    assert all(p.grad is None for p in policy.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_not_even_one_fits(make_policy):
    """One clear line that says what to do."""
    policy = make_policy()
    Card(policy, 0)
    with pytest.raises(TrainingError, match=r"one response of 9 \+ 7 tokens fits.*gradient-checkpointing"):
        fit_micro_batch(policy, small_config(minibatch_size=8), prompt_tokens=9)


def test_other_errors_are_not_taken_for_memory(make_policy):
    """A bug must not end in a smaller batch."""
    policy = make_policy()

    def broken(*args, **settings):
        raise RuntimeError("shapes do not match")

    policy.forward = broken
    with pytest.raises(RuntimeError, match="shapes"):
        fit_micro_batch(policy, small_config(minibatch_size=8), prompt_tokens=9)


def test_a_run_with_auto_is_the_run_with_the_number(tmp_path, letters_sft):
    """Gradients unchanged; found once, kept in the checkpoint, and not looked for again on resume."""
    cards = []
    auto = toy_config(iterations=2, micro_batch_size="auto")
    run(
        tmp_path / "auto",
        letters_sft,
        auto,
        ToyScorer(),
        prepare=lambda policy: cards.append(Card(policy, 3)),
    )
    run(tmp_path / "two", letters_sft, toy_config(iterations=2, micro_batch_size=2), ToyScorer())
    assert [rows for rows, *_ in cards[0].tried[:3]] == [8, 4, 2]
    assert max(rows for rows, *_ in cards[0].tried[3:]) == 2
    assert metrics_of(tmp_path / "auto") == metrics_of(tmp_path / "two")
    assert open_checkpoint(newest_checkpoint(tmp_path / "auto")).state["micro_batch"] == 2

    longer = toy_config(iterations=3, micro_batch_size="auto")
    settings = {"resume": True, "prepare": lambda policy: cards.append(Card(policy, 100))}
    run(tmp_path / "auto", letters_sft, longer, ToyScorer(), **settings)
    assert {rows for rows, *_ in cards[1].tried} == {2}


def test_never_after_the_first_step(tmp_path, letters_sft):
    """Memory that runs out later is an error: what was saved stands."""
    cards = []
    config = toy_config(iterations=3, micro_batch_size="auto")

    def shrink() -> bool:  # asked after every iteration
        if (tmp_path / "checkpoints" / "iteration-000001").is_dir():
            cards[0].rows = 1
        return False

    with pytest.raises(torch.OutOfMemoryError):
        run(
            tmp_path,
            letters_sft,
            config,
            ToyScorer(),
            prepare=lambda policy: cards.append(Card(policy, 3)),
            stop=shrink,
        )
    assert newest_checkpoint(tmp_path).name == "iteration-000002"
