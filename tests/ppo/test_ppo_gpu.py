"""The loop on a CUDA device: run with `pytest -m gpu`. None of it has a meaning on the CPU."""

from pathlib import Path

import pytest
import torch
from loop_helpers import ToyScorer, metrics_of, newest_checkpoint, run, toy_config
from parallel_helpers import QUICK, check_equal, train_all
from ppo_helpers import buffer_of, rollout, small_config
from ranks import ranks

from models.adapter import TuneConfig
from models.policy import build_policy
from models.precision import DeviceConfig, Precision, resolve_precision
from ppo.memory import fit_micro_batch
from ppo.parallel import ALONE
from ppo.run.checkpoint import load_policy
from ppo.update import minibatch_loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]

CPU = Precision(torch.device("cpu"), torch.float32)


@pytest.fixture(params=["float32", "bfloat16", "float16"])
def precision(request: pytest.FixtureRequest) -> Precision:
    """Every format that this GPU has."""
    if request.param == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bfloat16")
    return resolve_precision(DeviceConfig(device="cuda", dtype=request.param))


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_it_learns_in_every_format(tmp_path, letters_sft, precision, tune):
    """Checks 1, 24 and 30: rewards rise, the first ratio is 1 up to rounding, no step is lost for long."""
    config = toy_config(iterations=12, learning_rate=1e-2, save_every=12)
    run(tmp_path, letters_sft, config, ToyScorer(), tune=tune, precision=precision)
    rows = metrics_of(tmp_path)[1:]
    assert all(row["ppo/first_logratio"] <= (1e-4 if precision.exact else 2e-2) for row in rows)
    assert rows[-1]["reward/mean"] > 2 * rows[0]["reward/mean"]
    assert sum(row["ppo/skipped_steps"] for row in rows) <= 12


def test_gpu_and_cpu_say_the_same(letters_sft):
    """Float32 log-probabilities, values and gradients of the same responses, within 1e-3."""
    results = []
    for device in ("cpu", "cuda"):
        where = Precision(torch.device(device), torch.float32)
        policy = build_policy(letters_sft, TuneConfig(), where, seed=1)
        for p in policy.trainable().values():
            p.data += 0.01
        buffer = buffer_of(policy, rollout(policy), [7, 1, 4, 2, 6, 3, 7, 5])
        loss, _ = minibatch_loss(policy, buffer, small_config(), 0.1, denominator=buffer.response_mask.sum())
        loss.backward()
        gradients = [p.grad.cpu() for p in policy.trainable().values()]
        results.append([buffer.tokens.response_ids.cpu(), buffer.old_logprobs.cpu(), *gradients])
    assert torch.equal(results[0][0], results[1][0])  # the draws are made on the CPU
    for ours, theirs in zip(results[0][1:], results[1][1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_moves_between_devices(tmp_path, letters_sft, precision):
    """Trained on the GPU, loaded on the CPU: the same trained weights."""
    policy, _ = run(tmp_path, letters_sft, toy_config(iterations=1), ToyScorer(), precision=precision)
    loaded = load_policy(newest_checkpoint(tmp_path), CPU)
    for name, p in policy.trainable().items():
        assert torch.equal(p.cpu(), loaded.trainable()[name])


def test_gradient_checkpointing_lowers_the_peak(letters_sft: Path):
    """Check 26, in bytes of the card, on responses long enough for activations to be what counts."""
    peaks = []
    half = Precision(torch.device("cuda"), torch.float16)
    for checkpointing in (False, True):
        policy = build_policy(letters_sft, TuneConfig(), half, seed=1, gradient_checkpointing=checkpointing)
        config = small_config(prompts_per_iteration=32, minibatch_size=32, max_new_tokens=1024)
        fit_micro_batch(policy, config, prompt_tokens=64)  # libraries take their workspaces
        resting = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        fit_micro_batch(policy, config, prompt_tokens=64)
        peaks.append(torch.cuda.max_memory_allocated() - resting)
    assert peaks[1] < 0.8 * peaks[0]


def test_auto_finds_a_size_that_fits(letters_sft: Path):
    """With a small share of the card to itself, fewer responses than asked for, and then they do fit."""
    policy = build_policy(letters_sft, TuneConfig(), Precision(torch.device("cuda"), torch.float32), seed=1)
    config = small_config(
        prompts_per_iteration=4096, minibatch_size=4096, micro_batch_size="auto", max_new_tokens=1024
    )
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2**30 / total))
    try:
        found = fit_micro_batch(policy, config, prompt_tokens=64)
        assert 1 <= found < 4096
        again = small_config(prompts_per_iteration=found, minibatch_size=found, max_new_tokens=1024)
        assert fit_micro_batch(policy, again, prompt_tokens=64) == found
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_two_processes_equal_one(tmp_path, letters_sft):
    """Gradients by NCCL, each process with a GPU of its own or, where there is one, both with that one.

    Within 3e-5: sums go another way than on a CPU, and Adam divides by what is small (seen after an overflow:
    1.2e-5).
    """
    where = Precision(torch.device("cuda"), torch.float32)
    (tmp_path / "alone").mkdir()
    train_all(ALONE, tmp_path / "alone", letters_sft, QUICK, where)
    assert ranks(2, tmp_path / "pair", train_all, letters_sft, QUICK, where, cuda=True) == [0, 0]
    for name in QUICK:
        check_equal(tmp_path / "pair", tmp_path / "alone", name, 2, within=3e-5)
