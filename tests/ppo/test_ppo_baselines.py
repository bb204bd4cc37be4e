"""Baselines without a critic: against loops over the responses, and the gradient they must not bias."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loop_helpers import ToyScorer, metrics_of, newest_checkpoint, run, share_of_a, toy_config
from ppo_helpers import normal, ragged, seeds, small_config

from data import Problem, TestCase
from models.critic import build_critic
from ppo.advantages import gae, whiten
from ppo.baselines import PromptMeans, baseline_values, group_relative, leave_one_out
from ppo.prompts import EncodedPrompt
from ppo.run.folder import open_checkpoint

F64 = torch.float64


def every(scores: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(scores, dtype=torch.bool)


@given(st.integers(1, 4), st.integers(2, 4), seeds)
def test_leave_one_out_is_the_mean_of_the_others(prompts, samples, seed):
    """Each response against a loop over its scored siblings, faults among them."""
    scores, scored = normal((prompts * samples,), seed), normal((prompts * samples,), seed + 1) > -0.5
    baseline = leave_one_out(scores, scored, samples)
    for i in range(len(scores)):
        first = i - i % samples
        others = [scores[j].item() for j in range(first, first + samples) if j != i and scored[j]]
        expected = sum(others) / len(others) if others else scores[i].item()
        assert baseline[i].item() == pytest.approx(expected, abs=1e-12)


@given(st.floats(-5, 5), st.floats(-5, 5), seeds)
def test_what_a_prompt_is_worth_changes_no_advantage(first, second, seed):
    """Trap A1: constants added to the scores of each prompt leave every leave-one-out advantage alone."""
    scores = normal((6,), seed)
    shifted = scores + torch.tensor([first] * 3 + [second] * 3, dtype=F64)
    advantages = [s - leave_one_out(s, every(s), 3) for s in (scores, shifted)]
    torch.testing.assert_close(*advantages, rtol=0, atol=1e-12)


def test_a_response_is_not_in_its_own_baseline():
    """Trap A1: the running mean takes a rollout in after its baselines were taken: no bias."""
    config = small_config(baseline="prompt-mean")
    prompts = [EncodedPrompt(Problem(name, name, (TestCase("", ""),)), (1,), False, "") for name in "ab"]
    means = PromptMeans(8)
    for scores, expected in (([1.0, 0.0], [0.0, 1.0]), ([0.0, 0.5], [1.0, 0.0]), ([1.0, 1.0], [0.5, 0.25])):
        score = torch.tensor(scores)
        values, spread = baseline_values(config, torch.zeros(2, 3), prompts, score, every(score), means)
        assert values.tolist() == [[e] * 3 for e in expected] and (spread == 1).all()


@given(st.integers(1, 4), st.integers(2, 5), seeds)
def test_group_relative_is_numpys_standard_score(prompts, samples, seed):
    """(R − mean) / std over the scored samples of each prompt; faults are in neither."""
    scores, scored = normal((prompts * samples,), seed), normal((prompts * samples,), seed + 1) > -0.5
    mean, spread = group_relative(scores, scored, samples)
    for first in range(0, len(scores), samples):
        group = slice(first, first + samples)
        known = scores[group][scored[group]].numpy()
        if len(known) > 1:
            assert mean[group].tolist() == pytest.approx([known.mean()] * samples)
            assert spread[group].tolist() == pytest.approx([known.std()] * samples)
        elif len(known) == 1:
            assert mean[first].item() == pytest.approx(known[0]) and spread[first] == 1.0


def test_group_relative_divides_nothing_where_all_scored_the_same():
    """No signal is made of rounding: three times float32's 0.7 have spread 0, and mean 0.7 exactly."""
    scores = torch.tensor([0.7, 0.7, 0.7, 0.0, 1.0, 0.5])
    mean, spread = group_relative(scores, every(scores), 3)
    assert (scores - mean)[:3].tolist() == [0.0] * 3 and spread[:3].tolist() == [1.0] * 3
    assert ((scores - mean) / spread)[3:].tolist() == pytest.approx([-(1.5**0.5), 1.5**0.5, 0.0], abs=1e-6)


def test_prompt_means_know_what_a_prompt_is_worth():
    """Trap A1: once visited, an easy and a hard problem give the same advantages for the same surprise."""
    means = PromptMeans(8)
    for scores in ([0.9, 0.1], [0.7, 0.3]):
        means.update(["easy", "hard"], torch.tensor(scores, dtype=F64), torch.tensor([True, True]))
    scores = torch.tensor([0.85, 0.25], dtype=F64)
    advantages = scores - means.baseline(["easy", "hard"], scores, every(scores))
    assert advantages.tolist() == pytest.approx([0.05, 0.05])


def test_a_first_visit_is_compared_with_the_other_responses():
    """Never with itself: neither its own score nor a fault's is in its baseline."""
    scores = torch.tensor([1.0, 2.0, 6.0, 99.0], dtype=F64)
    scored = torch.tensor([True, True, True, False])
    baseline = PromptMeans(8).baseline(["a", "b", "c", "d"], scores, scored)
    assert baseline[:3].tolist() == [4.0, 3.5, 1.5]
    assert PromptMeans(8).baseline(["a"], scores[:1], scored[:1]).tolist() == [1.0]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.integers(1, 6))
def test_running_mean(scores, memory):
    """An ordinary mean over the first visits, then one that halves the distance every so often; no fault."""
    means = PromptMeans(memory)
    expected = 0.0
    for number, score in enumerate(scores, start=1):
        means.update(["p", "q"], torch.tensor([score, 7.0], dtype=F64), torch.tensor([True, False]))
        if number <= memory:
            expected = sum(scores[:number]) / number
        else:
            expected = expected * (1 - 1 / memory) + score / memory
    assert means.means.keys() == {"p"} and means.means["p"][1] == pytest.approx(expected, abs=1e-9)


def test_running_means_go_on_from_a_checkpoint():
    """Check 29: through JSON, to the same baselines bit for bit."""
    straight, saved, resumed = PromptMeans(3), PromptMeans(3), PromptMeans(3)
    for number in range(9):
        scores = normal((2,), number)
        for means in (straight, saved if number < 4 else resumed):
            means.update(["a", f"b{number % 2}"], scores, every(scores))
        if number == 3:
            resumed.load_state_dict(json.loads(json.dumps(saved.state_dict())))
    assert resumed.state_dict() == straight.state_dict()


def test_a_constant_baseline_makes_gae_the_return_minus_the_baseline():
    """With lambda 1, A = Σ rewards to go − b at every token, whatever the KL on the way."""
    mask = ragged([4, 2, 1])
    rewards, baseline = normal(mask.shape, 0) * mask, normal((3, 1), 1)
    advantages, _ = gae(rewards, baseline.expand(3, 4), mask, 1.0, 1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(advantages[mask], (to_go - baseline)[mask], rtol=0, atol=1e-12)


def test_leave_one_out_does_not_bias_the_gradient():
    """All 5³ triples of samples from a categorical over 5: the expected gradient is that of E[R] (float64).

    The whitening of a rollout divides by a number and shifts by the mean advantage, so it is left out.
    """
    logits, reward = normal((5,), 0).requires_grad_(), normal((5,), 1)
    logprobs = logits.log_softmax(-1)
    triples = torch.cartesian_prod(*[torch.arange(5)] * 3)  # (125, 3)
    scores = reward[triples].reshape(-1)
    advantages = (scores - leave_one_out(scores, every(scores), 3)).view(-1, 3)
    probability = logprobs.detach()[triples].sum(dim=1).exp()
    surrogate = (probability[:, None] * advantages * logprobs[triples] / 3).sum()
    estimate = torch.autograd.grad(surrogate, logits, retain_graph=True)[0]
    exact = torch.autograd.grad((logprobs.exp() * reward).sum(), logits)[0]
    torch.testing.assert_close(estimate, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("baseline", "samples"),
    [
        ("leave-one-out", 2),
        ("leave-one-out", 4),
        ("prompt-mean", 1),
    ],
)
@pytest.mark.slow
def test_the_loop_learns_without_a_critic(tmp_path, letters_sft, baseline, samples):
    """Check 30: to write the letter a; resumed in the middle it is the same run; no value was ever learnt."""
    settings = {
        "baseline": baseline,
        "samples_per_prompt": samples,
        "prompts_per_iteration": 16 // samples,
        "iterations": 16,
        "learning_rate": 1e-2,
        "save_every": 5,
        "eval_every": 0,
        "init_value_bias": False,
    }
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    policy, _ = run(straight, letters_sft, toy_config(**settings), ToyScorer())
    rewards = [row["reward/mean"] for row in metrics_of(straight)[1:]]
    assert sum(rewards[-3:]) / 3 > 2 * sum(rewards[:3]) / 3
    untouched = build_critic(policy.critic, 32, 32).state_dict()
    assert all(torch.equal(p, untouched[name]) for name, p in policy.value_head.state_dict().items())
    with pytest.raises(KeyboardInterrupt):
        run(broken, letters_sft, toy_config(**settings), ToyScorer(interrupt=12))
    run(broken, letters_sft, toy_config(**settings), ToyScorer(), resume=True)
    assert (straight / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()


class TwoObjectives(ToyScorer):
    """The share of a, counted in tenths from the third iteration on."""

    def objective(self, iteration: int) -> str:
        return "ones" if iteration < 2 else "tenths"

    def __call__(self, pairs, iteration):
        self.function = share_of_a if iteration < 2 else lambda program: 10 * share_of_a(program)
        return super().__call__(pairs, iteration)


def test_a_new_objective_forgets_what_was_measured_of_the_old(tmp_path, letters_sft):
    """Trap A18: scale and means hold scores of one objective only; which one it was is in the checkpoint."""
    config = toy_config(iterations=3, baseline="prompt-mean", scale_rewards=True)
    _, state = run(tmp_path, letters_sft, config, TwoObjectives())
    assert state.scale.count == 16 and state.objective == "tenths"
    assert sum(count for count, _ in state.prompt_means.means.values()) == 16
    raw = [
        row["score"] for row in map(json.loads, (tmp_path / "samples.jsonl").open()) if row["iteration"] == 3
    ]
    assert state.scale.std == pytest.approx(torch.tensor(raw, dtype=F64).std(correction=0).item())
    saved = open_checkpoint(newest_checkpoint(tmp_path)).state
    assert saved["objective"] == "tenths" and saved["prompt_means"] == state.prompt_means.state_dict()
    # One objective throughout: everything since the start is kept.
    _, state = run(tmp_path / "one", letters_sft, config, ToyScorer())
    assert state.scale.count == 48


def test_critic_warm_up_in_a_run(tmp_path, letters_sft):
    """Check 22: for three iterations the critic learns, KL to SFT stays 0 and kl_coef is left alone."""
    config = toy_config(
        iterations=5, critic_warmup=3, lr_warmup=2, value_learning_rate=3e-2, kl_target=0.1, kl_horizon=100
    )
    run(tmp_path, letters_sft, config, ToyScorer())
    rows = metrics_of(tmp_path)[1:]
    assert [row["ppo/update_norm"] == 0.0 for row in rows] == [True, True, True, False, False]
    assert all(abs(row["ppo/ref_kl"]) <= 1e-5 for row in rows[:4]) and abs(rows[4]["ppo/ref_kl"]) > 1e-5
    assert all(row["ppo/value_grad_norm"] > 0 for row in rows)
    assert [row["ppo/kl_coef"] for row in rows[:4]] == [config.kl_coef] * 4
    # The policy's own warm-up begins when it does.
    assert [row["ppo/learning_rate"] for row in rows[3:]] == [config.learning_rate / 2, config.learning_rate]


def test_values_of_the_baselines_reach_whitening():
    """A baseline per response survives whitening as an order within the rollout, not as a sign per prompt."""
    scores = torch.tensor([0.0, 0.1, 0.0, 0.6], dtype=F64)
    white = whiten((scores - leave_one_out(scores, every(scores), 2))[:, None], every(scores)[:, None])
    assert (white[3] / white[1]).item() == pytest.approx(6.0)


@pytest.mark.parametrize("samples", [1, 3])
def test_groups_must_fit(samples):
    """One sample has no siblings; four responses are not groups of three."""
    with pytest.raises(ValueError, match="2 or more"):
        leave_one_out(torch.zeros(4), torch.ones(4, dtype=torch.bool), samples)
    with pytest.raises(ValueError, match="1 or more"):
        PromptMeans(0)


@pytest.mark.parametrize("junk", [1e6, float("inf"), float("nan")])
def test_what_stands_in_a_faults_place_is_never_seen(junk):
    """Trap A14: neither by the mean and spread of a group, nor by its sibling's baseline."""
    scores, scored = torch.tensor([0.25, junk, 0.75]), torch.tensor([True, False, True])
    mean, spread = group_relative(scores, scored, 3)
    assert mean.tolist() == [0.5] * 3 and spread.tolist() == [0.25] * 3
    assert leave_one_out(scores, scored, 3)[scored].tolist() == [0.75, 0.25]
