"""Diagnostics by kind of outcome, against arithmetic by hand."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loop_helpers import ToyScorer, metrics_of, run, share_of_a, toy_config
from ppo_helpers import buffer_of, normal, rollout, small_config

from ppo.errors import TrainingError
from ppo.rollout import PlainScore
from ppo.run.diagnostics import rollout_metrics
from ppo.run.outcomes import Transitions, outcome_metrics, outcomes_of, share_with_signal
from ppo.update import minibatch_loss


def score(total: float, kind: str = "scored") -> PlainScore:
    return PlainScore(total, kind=kind)


def test_means_by_group(make_policy):
    """Rows 0 and 2 are of one kind, 1 of another, 3 is a fault; tokens outside the mask do not count."""
    policy = make_policy()
    responses = rollout(policy, count=4)
    mask = responses.tokens.response_mask.clone()
    mask[3] = False
    lengths = mask.sum(dim=1)
    advantages = torch.arange(1.0, 5.0)[:, None].expand(mask.shape).where(mask, torch.tensor(1e6))
    kl = torch.where(mask, 0.5, 0.0)
    verdicts = [score(0.2, "parses"), score(1.0, "passes"), score(0.4, "parses"), None]
    found = outcome_metrics(responses, verdicts, advantages, kl, mask)
    characters = [len(answer.program) for answer in responses.programs]
    assert found == {
        "outcome/parses/share": pytest.approx(2 / 3),
        "outcome/parses/reward": pytest.approx(0.3),
        "outcome/parses/program_length": (characters[0] + characters[2]) / 2,
        "outcome/parses/advantage": pytest.approx(
            ((lengths[0] * 1 + lengths[2] * 3) / (lengths[0] + lengths[2])).item()
        ),
        "outcome/parses/ref_kl": pytest.approx(0.25 * (lengths[0] + lengths[2]).item()),
        "outcome/passes/share": pytest.approx(1 / 3),
        "outcome/passes/reward": 1.0,
        "outcome/passes/program_length": characters[1],
        "outcome/passes/advantage": pytest.approx(2.0),
        "outcome/passes/ref_kl": pytest.approx(0.5 * lengths[1].item()),
    }
    assert outcomes_of(verdicts) == ["parses", "passes", "parses", ""]


def test_ratio_kl_and_clipping_by_group(make_policy):
    """Sums of the update's own forward over the tokens of each kind, by the definitions, token by token."""
    policy = make_policy(trained=True)
    buffer = buffer_of(policy, rollout(policy), [7, 1, 4, 2, 6, 3, 7, 5])
    names = ["a", "b", "a", "", "b", "a", "b", "a"]
    shifted = buffer.old_logprobs + 0.3 * normal(buffer.old_logprobs.shape, 5, torch.float32)
    buffer = replace(buffer, old_logprobs=shifted, outcomes=names)
    tokens = buffer.response_mask.sum()
    _, sums = minibatch_loss(policy, buffer, small_config(), 0.0, denominator=tokens)
    with torch.no_grad():
        logprobs = policy(buffer.tokens, 0.7).logprobs
    for kind in ("a", "b"):
        expected = Counter[str]()
        for row, column in buffer.response_mask.nonzero().tolist():
            if names[row] == kind:
                d = (logprobs - buffer.old_logprobs)[row, column].double()
                good = buffer.advantages[row, column] > 0
                ratio = d.exp().item()
                expected["tokens"] += 1
                expected["ratio"] += ratio
                expected["approx_kl"] += ratio - 1 - d.item()
                expected["clip_frac"] += (ratio > 1.2) if good else (ratio < 0.8)
        assert {name: sums[f"outcome/{kind}/{name}"] for name in expected} == pytest.approx(
            expected, rel=1e-4
        )
        assert expected["clip_frac"] > 0
    assert not any(name.startswith("outcome//") for name in sums)
    # Cut into micro-batches, whose rows are others of the rollout: the same sums.
    pieces = Counter[str]()
    for micro in buffer.rows(torch.tensor([5, 0, 7, 2, 4, 3, 6, 1])).micro_batches(3):
        pieces.update(minibatch_loss(policy, micro, small_config(), 0.0, denominator=tokens)[1])
    for name in (
        f"outcome/{kind}/{what}" for kind in "ab" for what in ("tokens", "ratio", "approx_kl", "clip_frac")
    ):
        assert pieces[name] == pytest.approx(sums[name], rel=1e-4), name


class ByFirstLetter(ToyScorer):
    """A scorer whose kinds are letters."""

    def __call__(self, pairs, iteration):
        scores = super().__call__(pairs, iteration)
        return [
            None if score is None else replace(score, kind=program[:1] or "empty")
            for score, (_, program) in zip(scores, pairs, strict=True)
        ]


def test_groups_add_up_to_the_whole_in_a_run(tmp_path, letters_sft):
    """Shares to 1; rewards, KL and ratios to those of the rollout; ten problems are seen again and again.

    The critic stays at the mean score: one that learns would take from the letter a what is expected of it.
    """
    run(tmp_path, letters_sft, toy_config(iterations=3, value_learning_rate=0.0), ByFirstLetter(share_of_a))
    rows = metrics_of(tmp_path)[1:]
    for row in rows:
        kinds = {name.split("/")[1] for name in row if name.startswith("outcome/")}
        assert len(kinds) >= 3

        def total(what: str, row=row, kinds=kinds) -> float:
            return sum(row[f"outcome/{g}/share"] * row[f"outcome/{g}/{what}"] for g in kinds)

        assert sum(row[f"outcome/{g}/share"] for g in kinds) == pytest.approx(1.0)
        assert total("reward") == pytest.approx(row["reward/mean"])
        assert total("ref_kl") == pytest.approx(row["ppo/ref_kl"], abs=1e-6)
        assert total("program_length") == pytest.approx(row["rollout/program_length"])
        clipped = [row[f"outcome/{g}/clip_frac"] for g in kinds]
        assert min(clipped) <= row["ppo/clip_frac"] <= max(clipped)
        assert min(row[f"outcome/{g}/approx_kl"] for g in kinds) >= 0
        assert row["outcome/a/advantage"] > max(row[f"outcome/{g}/advantage"] for g in kinds - {"a"})
    moves = [sum(v for name, v in row.items() if name.startswith("transition/")) for row in rows]
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    drawn = [{s["problem"] for s in samples if s["iteration"] == number} for number in (1, 2, 3)]
    assert len(drawn[0]) == 10 and moves == [0, len(drawn[1]), len(drawn[2])]


def test_transitions_follow_the_best_response_of_a_problem():
    """First visits and faults move nothing; the state is all there is."""
    transitions = Transitions()
    first = [score(0.2, "parses"), score(0.6, "prints"), score(0.4, "runs"), None]
    assert transitions.update(["p", "p", "q", "r"], first) == {}
    again = Transitions()
    again.load_state_dict(transitions.state_dict())
    second = [score(1.0, "passes"), score(0.4, "runs"), score(0.2, "parses"), None]
    expected = {"transition/prints->passes": 1, "transition/runs->runs": 1}
    assert transitions.update(["p", "q", "r", "p"], second) == expected
    assert again.update(["p", "q", "r", "p"], second) == expected
    assert transitions.last == {"p": "passes", "q": "runs", "r": "parses"}


SIGNAL = {
    (("p", 0.0), ("p", 0.0), ("q", 0.0), ("q", 1.0)): 0.5,
    (("p", 1.0), ("p", 1.0), ("q", 0.0), ("q", 0.0)): 0.0,  # nothing within a problem
    (("p", 0.0), ("q", 0.0), ("r", 0.0), ("s", 1.0)): 0.25,  # one sample each: another score than most
    (("p", 0.0), ("q", 0.0)): 0.0,
    (("p", 0.0), ("p", None), ("q", 0.0), ("r", 0.5)): pytest.approx(1 / 3),
    (("p", None), ("q", None)): 0.0,
}


@pytest.mark.parametrize("case", SIGNAL, ids=str)
def test_share_of_problems_with_a_signal(case):
    verdicts = [None if total is None else score(total) for _, total in case]
    assert share_with_signal([problem for problem, _ in case], verdicts) == SIGNAL[case]


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=9))
def test_signal_is_a_share_and_a_constant_reward_has_none(rows):
    problems = [problem for problem, _ in rows]
    assert 0 <= share_with_signal(problems, [score(total) for _, total in rows]) <= 1
    assert share_with_signal(problems, [score(0.64) for _ in rows]) == 0


def test_a_scorer_cannot_replace_a_number_of_the_run(make_policy):
    """Its own metrics have names of their own."""
    verdicts = [PlainScore(1.0, metrics={"reward/mean": 9.0})] * 4
    with pytest.raises(TrainingError, match=r"'reward/mean' is one of the run's own"):
        rollout_metrics(rollout(make_policy(), count=4), verdicts)
