"""The whole loop on a task whose optimum is known, resumed, interrupted, and handed things that are wrong."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loop_helpers import (
    ToyScorer,
    by_weights,
    metrics_of,
    newest_checkpoint,
    run,
    share_of_a,
    sometimes_faulty,
    toy_config,
)

import ppo.checks
import ppo.loop
from models.precision import Precision
from models.storage import load_tensors
from ppo.errors import TrainingError
from ppo.run.folder import numbered, open_checkpoint

LAST = "checkpoints/iteration-000005"


@pytest.mark.parametrize(
    ("tune", "rate"), [pytest.param("full", 3e-3, marks=pytest.mark.slow), ("lora", 1e-2)]
)
def test_learns_to_write_a(tmp_path, letters_sft, tune, rate):
    """Check 30: from one letter in eight to mean reward > .9 in 40 iterations."""
    config = toy_config(iterations=40, learning_rate=rate, save_every=40, eval_every=0)
    run(tmp_path, letters_sft, config, ToyScorer(), tune=tune)
    rewards = [row["reward/mean"] for row in metrics_of(tmp_path)[1:]]
    assert sum(rewards[:3]) / 3 < 0.3
    assert sum(rewards[-5:]) / 5 > 0.9


def test_a_reward_of_zero_keeps_the_policy_where_it_is(tmp_path, letters_sft):
    """Check 30: nothing to gain: KL to SFT stays near 0, where a reward drives it to several nats."""
    config = toy_config(iterations=15, learning_rate=1e-3, kl_coef=0.1, save_every=15)
    run(tmp_path / "held", letters_sft, config, ToyScorer(lambda program: 0.0))
    rows = metrics_of(tmp_path / "held")[1:]
    assert all(row["reward/mean"] == 0.0 for row in rows)
    assert max(abs(row["ppo/ref_kl"]) for row in rows) < 0.05
    # Without the penalty there is nothing at all to learn from, and nothing moves: 0/0 is not noise.
    run(tmp_path / "free", letters_sft, toy_config(kl_coef=0.0), ToyScorer(lambda program: 0.0))
    assert [row["ppo/update_norm"] for row in metrics_of(tmp_path / "free")[1:]] == [0.0] * 4


def test_every_iteration_starts_at_ratio_one_and_the_first_at_kl_zero(tmp_path, letters_sft):
    """Checks 1 and 14, trap A5, in the logs of a run; the critic starts at the mean score."""
    seen = []

    def score(program: str) -> float:
        seen.append(share_of_a(program))
        return seen[-1]

    config = toy_config(iterations=2, value_learning_rate=0.0)
    policy, _ = run(tmp_path, letters_sft, config, ToyScorer(score))
    rows = metrics_of(tmp_path)[1:]
    assert all(row["ppo/first_logratio"] <= 1e-5 for row in rows)
    assert not any("ppo/rollout_gap" in row for row in rows)  # no pass that decoding could be held to
    assert abs(rows[0]["ppo/ref_kl"]) <= 1e-5 < abs(rows[1]["ppo/ref_kl"])
    first, second = sum(seen[:16]) / 16, sum(seen[16:]) / 16
    assert policy.value_head.mean.item() == pytest.approx(first) and first != second


FULL_STATE = {
    "iterations": 5,
    "epochs": 2,
    "scale_rewards": True,
    "kl_target": 0.5,
    "kl_horizon": 100,
    "lr_schedule": "cosine",
    "lr_warmup": 2,
    "missing_eos_penalty": 0.1,
}


@pytest.mark.parametrize(
    ("tune", "stop", "save_every"),
    [
        ("lora", 3, 2),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (("lora", 0, 1), ("lora", 3, 1), ("full", 0, 1), ("full", 3, 1), ("full", 3, 2))
        ),
    ],
)
def test_resumed_equals_straight_through(tmp_path, letters_sft, tune, stop, save_every):
    """Check 29, trap A18: interrupted in any iteration and resumed: weights, optimizer, logs byte for byte.

    Adaptive KL, running scale, a scorer with a state, faults, learning-rate schedule and `best` are on.
    """
    config = toy_config(**FULL_STATE, save_every=save_every, eval_every=2)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    settings = {"tune": tune, "evaluator": by_weights}
    run(straight, letters_sft, config, ToyScorer(sometimes_faulty), **settings)
    torch.manual_seed(99)  # a resumed run meets other global randomness
    with pytest.raises(KeyboardInterrupt):
        run(broken, letters_sft, config, ToyScorer(sometimes_faulty, interrupt=stop), **settings)
    assert len(metrics_of(broken)) < 6
    torch.manual_seed(98)
    run(broken, letters_sft, config, ToyScorer(sometimes_faulty), resume=True, **settings)

    for name in ("metrics.jsonl", "samples.jsonl", "tokens.jsonl"):
        assert (straight / name).read_bytes() == (broken / name).read_bytes(), name
    files = sorted(p.name for p in (straight / LAST).iterdir())
    assert "state.safetensors" in files and files == sorted(p.name for p in (broken / LAST).iterdir())
    for name in (f for f in files if f.endswith(".safetensors")):
        ours, theirs = load_tensors(straight / LAST / name), load_tensors(broken / LAST / name)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours), name
    states = [open_checkpoint(run_dir / LAST).state for run_dir in (straight, broken)]
    for state in states:
        state["logs"].pop("timing.jsonl")  # times differ
    assert states[0] == states[1]
    assert (straight / "checkpoints/best").readlink() == (broken / "checkpoints/best").readlink()


def test_one_seed_gives_one_file(tmp_path, letters_sft):
    """Design, determinism: one seed gives one metrics.jsonl, byte for byte; another seed another."""
    files = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)
        run(tmp_path / str(number), letters_sft, toy_config(iterations=2, seed=seed), ToyScorer())
        files.append((tmp_path / str(number) / "metrics.jsonl").read_bytes())
    assert files[0] == files[1] != files[2]


def test_memory_settings_change_no_result(tmp_path, letters_sft):
    """Check 11: rollout_batch and micro_batch_size are about memory: after two iterations all agree."""
    rows = []
    for number, (rollout, micro) in enumerate(((16, 8), (5, 3))):
        config = toy_config(iterations=2, rollout_batch=rollout, micro_batch_size=micro)
        run(tmp_path / str(number), letters_sft, config, ToyScorer())
        rows.append(metrics_of(tmp_path / str(number))[2])
    assert rows[0].keys() == rows[1].keys()
    for name, value in rows[0].items():
        # The log-ratio before the first step, and what it makes of the first minibatch, is rounding alone.
        assert rows[1][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_an_interrupted_run_has_a_checkpoint(tmp_path, letters_sft):
    """Ctrl-C in the third iteration: the checkpoint of the second opens, and nothing half-written is left."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, letters_sft, toy_config(), ToyScorer(interrupt=2))
    checkpoint = open_checkpoint(newest_checkpoint(tmp_path))
    assert checkpoint.state["iteration"] == 2
    assert not list((tmp_path / "checkpoints").glob("*.partial"))


def test_faults_are_masked_and_counted(tmp_path, letters_sft):
    """Traps A14, A15: responses without a score are counted, the others' mean is the reward."""
    run(tmp_path, letters_sft, toy_config(iterations=3), ToyScorer(sometimes_faulty))
    rows = metrics_of(tmp_path)[1:]
    assert sum(row["rollout/faults"] for row in rows) > 0
    assert all(row["rollout/samples"] == 16 for row in rows)


def test_the_score_of_a_fault_is_never_seen(tmp_path, letters_sft, monkeypatch):
    """Traps A14, A15: whatever number stands in a fault's place, training is the same."""
    shape = ppo.loop.shape_scores

    def with_junk(raw, scored, *rest):
        return shape(torch.where(scored, raw, 1e6), scored, *rest)

    folders = [tmp_path / "plain", tmp_path / "junk"]
    config = toy_config(iterations=2, scale_rewards=True)
    run(folders[0], letters_sft, config, ToyScorer(sometimes_faulty))
    monkeypatch.setattr(ppo.loop, "shape_scores", with_junk)
    run(folders[1], letters_sft, config, ToyScorer(sometimes_faulty))
    assert metrics_of(folders[0])[1]["rollout/faults"] > 0
    assert metrics_of(folders[0]) == metrics_of(folders[1])


def test_nothing_scored_stops_the_run(tmp_path, letters_sft):
    """An iteration of faults only is no iteration; what was saved before stands."""
    with pytest.raises(TrainingError, match="could be scored"):
        run(tmp_path, letters_sft, toy_config(), ToyScorer(lambda program: None))
    assert newest_checkpoint(tmp_path).name == "iteration-000000"


@pytest.mark.parametrize(
    ("dtype", "shift", "message"),
    [(torch.float32, 1e-3, "before the first step"), (torch.bfloat16, 1.0, "disagree by")],
)
def test_log_probabilities_of_another_distribution_stop_the_run(
    tmp_path, letters_sft, monkeypatch, dtype, shift, message
):
    """Check 1, trap A4: log-probabilities of the rollout that the update cannot reproduce; in 16 bits, a
    forward pass."""
    sample = ppo.loop.sample_responses

    def tampered(*args, **kwargs):
        responses = sample(*args, **kwargs)
        return replace(responses, logprobs=responses.logprobs + shift)

    monkeypatch.setattr(ppo.loop, "sample_responses", tampered)
    with pytest.raises(TrainingError, match=message):
        precision = Precision(torch.device("cpu"), dtype)
        run(tmp_path, letters_sft, toy_config(), ToyScorer(), precision=precision)


def test_overflows_are_counted_over_iterations_and_in_the_checkpoint(tmp_path, letters_sft):
    """Check 24: four steps an iteration, all of them overflow: after five iterations the run stops."""

    def overflow(policy):
        next(iter(policy.trainable().values())).register_hook(lambda grad: grad * float("inf"))

    half = Precision(torch.device("cpu"), torch.float16)
    config = toy_config(iterations=9)
    with pytest.raises(TrainingError, match="20 optimizer steps in a row"):
        run(tmp_path, letters_sft, config, ToyScorer(), precision=half, prepare=overflow)
    assert [row["ppo/skipped_in_a_row"] for row in metrics_of(tmp_path)[1:]] == [4, 8, 12, 16]
    state = open_checkpoint(newest_checkpoint(tmp_path)).state
    assert state["skipped_in_a_row"] == 16 and state["grad_scaler"]["scale"] == 65536.0 / 2**16
    with pytest.raises(TrainingError, match="20 optimizer steps in a row"):  # at once, not after five more
        run(tmp_path, letters_sft, config, ToyScorer(), precision=half, prepare=overflow, resume=True)
    assert len(metrics_of(tmp_path)) == 5


def test_weights_of_nan_are_named_with_their_problem(tmp_path, letters_sft, monkeypatch):
    """Trap A13: in the rollout already, or in what a forward pass says of valid positions."""

    def poison(policy):
        policy.network.model.norm.weight.data.fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"logits are not numbers.*\(at problems p\d"):
        run(tmp_path / "a", letters_sft, toy_config(), ToyScorer(), prepare=poison)

    def poison_reference(policy):
        reference = policy.ref_logprobs
        policy.ref_logprobs = lambda *args: reference(*args).index_fill(0, torch.tensor([1]), float("nan"))

    with pytest.raises(
        TrainingError, match=r"^ref_logprobs are not finite in 2 of 16 responses \(problems p"
    ):
        run(tmp_path / "b", letters_sft, toy_config(), ToyScorer(), prepare=poison_reference)
    assert newest_checkpoint(tmp_path / "b").name == "iteration-000000"


def test_weights_that_do_not_move_stop_the_run(tmp_path, letters_sft):
    """With a learning rate next to 0, or a forward pass that is cut off from the trained parameters."""
    config = toy_config(learning_rate=1e-30)
    with pytest.raises(TrainingError, match=r"did not move .*: learning_rate is too small"):
        run(tmp_path / "rate", letters_sft, config, ToyScorer())

    def detach(policy):
        states = policy._response_states
        policy._response_states = lambda *args: states(*args).detach()

    with pytest.raises(TrainingError, match="did not move"):
        run(tmp_path / "detached", letters_sft, toy_config(), ToyScorer(), prepare=detach)


def scripted(*numbers: float):
    """An evaluator that gives these results, one after the other."""
    results = iter(numbers)
    return lambda policy: {"validation/all_pass": next(results)}


@pytest.mark.parametrize("save_every", [1, 2])
def test_best_is_the_checkpoint_with_the_best_validation(tmp_path, letters_sft, save_every):
    """Trap A19: ranked by validation all-pass; the folder that `best` names is the one it was measured on."""
    config = toy_config(iterations=5, eval_every=1, save_every=save_every, keep_checkpoints=2)
    run(tmp_path, letters_sft, config, ToyScorer(), evaluator=scripted(0.1, 0.2, 0.3, 0.9, 0.9, 0.4))
    best = open_checkpoint(tmp_path / "checkpoints" / "best")
    assert best.state["iteration"] == 3 and best.state["best"] == {"iteration": 3, "all_pass": 0.9}
    assert [p.name[-1] for p in numbered(tmp_path / "checkpoints")] == ["3", "4", "5"]


@pytest.mark.parametrize(("every", "expected"), [(0, [0, 4]), (1, [0, 1, 2, 3, 4]), (3, [0, 3, 4])])
def test_when_validation_runs(tmp_path, letters_sft, every, expected):
    """At the start, every so many iterations, and at the end."""
    run(tmp_path, letters_sft, toy_config(eval_every=every), ToyScorer())
    rows = metrics_of(tmp_path)
    assert [r["iteration"] for r in rows] == [0, 1, 2, 3, 4]
    assert [r["iteration"] for r in rows if "validation/all_pass" in r] == expected


@pytest.mark.parametrize("place", ["reward", pytest.param("loss", marks=pytest.mark.slow)])
def test_kl_penalty_holds_the_policy(tmp_path, letters_sft: Path, place):
    """Trap A10: with a heavy penalty the policy stays much nearer to SFT than without, in either place."""
    divergence = {}
    for coefficient in (0.0, 2.0):
        folder = tmp_path / str(coefficient)
        config = toy_config(
            iterations=8, learning_rate=1e-2, kl_coef=coefficient, kl_controller="fixed", kl_in=place
        )
        run(folder, letters_sft, config, ToyScorer())
        divergence[coefficient] = metrics_of(folder)[-1]["ppo/ref_kl"]
    assert divergence[2.0] < 0.5 * divergence[0.0]


@pytest.mark.parametrize(
    ("dtype", "tune"),
    [
        (torch.float16, "lora"),
        pytest.param(torch.bfloat16, "full", marks=pytest.mark.slow),
        pytest.param(torch.float16, "full", marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, "lora", marks=pytest.mark.slow),
    ],
)
def test_half_precision(tmp_path, letters_sft, monkeypatch, tune, dtype):
    """Checks 1 and 24: old log-probabilities are the update's own, what is trained stays float32, it learns.

    The toy's logits are coarse in bfloat16, so decoding may differ from the forward pass by more than a
    real model's.
    """
    monkeypatch.setattr(ppo.checks, "MAX_ROLLOUT_GAP", 0.5)
    precision = Precision(torch.device("cpu"), dtype)
    config = toy_config(iterations=12, learning_rate=1e-2, save_every=12)
    policy, state = run(tmp_path, letters_sft, config, ToyScorer(), tune=tune, precision=precision)
    rows = metrics_of(tmp_path)[1:]
    assert all(row["ppo/first_logratio"] <= 5e-3 for row in rows)
    if tune == "lora":  # folded adapters round differently: it was half precision
        assert any(row["ppo/rollout_gap"] > 1e-4 for row in rows)
    trained = [*policy.trainable().values(), *policy.value_head.parameters()]
    frozen = {p.dtype for p in policy.parameters() if not p.requires_grad}
    assert frozen == ({dtype} if tune == "lora" else set())
    assert {p.dtype for p in trained} == {torch.float32}
    assert {v.dtype for slots in state.optimizer.state.values() for v in slots.values()} == {torch.float32}
    assert state.scaler.is_enabled() == (dtype == torch.float16)
    assert rows[-1]["reward/mean"] > 2 * rows[0]["reward/mean"]


def test_the_logged_kl_is_the_sum_over_a_response(tmp_path, letters_sft, monkeypatch):
    """Check 13: nats per response: with log-probabilities of the reference 0.25 lower, 0.25 per token."""
    forward, lengths = ppo.loop.forward_responses, []

    def shifted(policy, responses, *rest):
        logprobs, ref_logprobs, values = forward(policy, responses, *rest)
        lengths.append(responses.tokens.response_mask.sum(dim=1).double().mean().item())
        return logprobs, ref_logprobs - 0.25, values

    monkeypatch.setattr(ppo.loop, "forward_responses", shifted)
    run(tmp_path, letters_sft, toy_config(iterations=1), ToyScorer())
    assert metrics_of(tmp_path)[1]["ppo/ref_kl"] == pytest.approx(0.25 * lengths[0], abs=1e-4)
    assert lengths[0] > 2


@pytest.mark.parametrize("kind", ["adaptive", "fixed"])
def test_kl_coefficient_follows_its_controller(tmp_path, letters_sft, kind):
    """Check 13: the coefficient of each iteration is the last one moved by the KL that was logged."""
    config = toy_config(kl_coef=0.1, kl_controller=kind, kl_target=2.0, kl_horizon=100)
    _, state = run(tmp_path, letters_sft, config, ToyScorer())
    coefficient = 0.1
    for row in metrics_of(tmp_path)[1:]:
        assert row["ppo/kl_coef"] == pytest.approx(coefficient, rel=1e-9)
        if kind == "adaptive":
            coefficient *= 1 + min(max(row["ppo/ref_kl"] / 2.0 - 1, -0.2), 0.2) * 16 / 100
    assert state.kl.coefficient == pytest.approx(coefficient, rel=1e-9)
