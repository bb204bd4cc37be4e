"""The benchmark of a GPU, on a CPU: that its parts run and write what is read, and that it counts right."""

import argparse
import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import card, gpu
from cli import pace
from models.adapter import TuneConfig
from models.footprint import Shape
from models.last_layer import LAST_LAYER
from models.policy import build_policy
from models.precision import Precision
from ppo.config import PPOConfig
from ppo.memory import full_length

HALF = Precision(torch.device("cpu"), torch.bfloat16)
SIZE = argparse.Namespace(
    **{"hidden": 32, "layers": 2, "heads": 4, "feed_forward": 48, "vocab": 270},
    **{"prompt": 6, "response": 5, "batch": 4, "rollout_batch": 2},
)
CARD = {"copy_gb_per_s": 10.0, "matrix_tflops": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("random")
    gpu._save_random_model(made, SIZE, HALF)
    return made


def test_what_is_measured_and_read(folder, tmp_path):
    """Part by part, in order; and `plan --rates` finds in it what it looks for."""
    found = {"device": "a card", "prompt": 6, "response": 5}
    seen = []
    for part in gpu.measure(folder, HALF, CARD, SIZE):
        seen += part
        found |= part
    assert seen == ["weights", "decoding", "gap", "rows", "rows"]
    assert found["weights"] == 270 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32) + 32
    assert list(found["decoding"]) == ["eager"]
    assert list(found["gap"]) == ["folded in", "beside"]
    for gap in found["gap"].values():
        assert 0 < gap["mean"] <= gap["root mean square"] <= gap["max"] < 0.5
        assert gap["log-probability"] < -1 and 1 < gap["different tokens"] <= 20
        assert 0.9 < gap["share of samples that weighted ones are worth"] <= 1 + 1e-9
    gpu._write(tmp_path / "new" / "gpu.json", found)
    row = json.loads((tmp_path / "new" / "gpu.json").read_text())["rows"][1]
    network = build_policy(folder, TuneConfig(), HALF, seed=1).network
    shape = Shape(network.config, TuneConfig(), HALF)
    config = PPOConfig(
        prompts_per_iteration=4,
        minibatch_size=4,
        max_prompt_tokens=6,
        max_new_tokens=5,
        epochs=1,
        gradient_checkpointing=True,
    )
    seconds = pace.by_rates(tmp_path / "new" / "gpu.json", shape, config).seconds
    assert seconds["update"] == pytest.approx(4 * 5 / row["update tokens/s"], rel=1e-6)


def test_operations_are_those_that_torch_counts(folder):
    """In a pass of the reference; attention as a whole square, where the benchmark counts half of one."""
    policy = build_policy(folder, TuneConfig(), HALF, seed=1)
    bench = gpu.Bench(policy, CARD, SIZE)
    batch = full_length(policy, SIZE.batch, SIZE.prompt, SIZE.response).tokens
    with FlopCounterMode(display=False) as counter, LAST_LAYER.off(), sdpa_kernel(SDPBackend.MATH):
        policy.ref_logprobs(batch, 1.0)
    products, attention = bench.operations()
    norms = 2.0 * SIZE.batch * (SIZE.prompt + SIZE.response - 1) * (2 * 2 * 32 + 32)  # no products
    assert counter.get_total_flops() == products - norms + 2 * attention


def test_rates_and_card():
    cpu = torch.device("cpu")
    assert card.describe(cpu)["device"] == "CPU" and card.describe(cpu)["torch"] == torch.__version__
    assert card.seconds_of(lambda: None, cpu, repeats=2) >= 0
