"""`train.py plan`: a preset in, what it takes out; and whether it fits. And what this machine has."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers as t
import yaml
from small_runs import command
from test_bad_input import refused

from cli import machine, pace
from models.adapter import TuneConfig
from models.footprint import Shape
from models.precision import Precision
from ppo.config import PPOConfig

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model folder with a configuration and nothing else, as a plan needs it."""
    folder = tmp_path_factory.mktemp("config")
    config = t.GPT2Config(
        vocab_size=300,
        n_embd=32,
        n_layer=3,
        n_head=2,
        architectures=["GPT2LMHeadModel"],
        **{"eos_token_id": 1},
    )
    config.save_pretrained(folder)
    return folder


@pytest.fixture
def preset(tmp_path) -> Path:
    """Of PPO alone, with full tuning: the plan of the fewest operations."""
    settings = {"tune": "full", "device": "cuda", "max_new_tokens": 16, "max_prompt_tokens": 16}
    path = tmp_path / "preset.yaml"
    path.write_text(yaml.safe_dump({"ppo": settings, "plan": {"made_for_gb": 4.0}}))
    return path


def test_a_plan_says_what_is_taken_and_whether_it_fits(capsys, monkeypatch, model, preset):
    """One rehearsal serves all: what is said around it depends on the machine and on the flags."""
    parts = {
        "rollout": {"weights": 2 * GIB},
        "scoring": {"weights": GIB},
        "update": {"weights": GIB, "x": GIB},
    }
    assert command("plan", "--config", preset, "--model", model) == 0
    said = capsys.readouterr().out
    assert "KV cache" in said and "rollout" in said and "sft" not in said
    assert "fits 4.0 GiB (what the preset is made for): the most, 1.0" in said
    assert "seconds per iteration: unknown" in said

    monkeypatch.setattr("cli.plan.ppo_parts", lambda *_: parts)
    flags = ["plan", "--config", preset, "--model", model]
    assert command(*flags) == 0
    assert "the most, 3.00, in rollout" in capsys.readouterr().out  # and a GiB that CUDA takes
    said = refused(capsys, *flags, "--memory-gb", 2.5)
    assert "does not fit 2.5 GiB (--memory-gb): rollout takes 3.00; lower rollout_batch" in said
    monkeypatch.setattr("cli.plan.gpu", lambda: machine.Gpu("a card", 2 * GIB, (7, 0)))
    assert "does not fit 2.0 GiB (a card)" in refused(capsys, *flags)
    assert "--memory-gb must be greater than 0" in refused(capsys, *flags, "--memory-gb", 0)


def test_what_cannot_be_planned_is_told_before_any_work(capsys, model, preset, tmp_path):
    (tmp_path / "other.yaml").write_text("prepare: {}")
    assert "no section sft, ppo or evaluate" in refused(capsys, "plan", "--config", tmp_path / "other.yaml")
    said = refused(capsys, "plan", "--config", preset, "--model", tmp_path / "none")
    assert "--model" in said and "no such model folder" in said
    said = refused(capsys, "plan", "--config", preset, "--model", model, "--rates", model / "config.json")
    assert "not what benchmarks/gpu.py --json writes" in said


DEEPSEEK = t.LlamaConfig(
    **{"vocab_size": 32256, "hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 24},
    **{"num_attention_heads": 16, "max_position_embeddings": 16384},
)
QWEN = t.Qwen2Config(
    **{"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24},
    **{"num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True},
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "config", "memory", "weights", "widest"),
    [
        # 1,346,471,936 weights of two bytes; of the cache 192 KiB a token, and 1536 tokens in each row
        ("deepseek-1.3b-v100", DEEPSEEK, 15, "2.51", ("KV cache", "4.50")),  # 16 rows
        ("deepseek-1.3b-24gb", DEEPSEEK, 22, "2.51", ("KV cache", "9.00")),  # 32 rows
        # 494,032,768 weights, and 12 KiB a token
        ("qwen2.5-coder-0.5b", QWEN, 11, "0.92", ("KV cache", "1.12")),
    ],
)
def test_the_presets_fit_their_cards(capsys, tmp_path, preset, config, memory, weights, widest):
    """With the shapes of the models they are for; a GiB of each card is not ours."""
    config.save_pretrained(tmp_path)
    flags = ["--config", ROOT / "configs" / f"{preset}.yaml", "--model", tmp_path]
    assert command("plan", *flags, "--memory-gb", memory) == 0
    said = capsys.readouterr().out
    found = [re.search(rf"{name} +│[ │]+(\S+)", said) for name in ("weights", widest[0])]
    assert [each and each[1] for each in found] == [weights, widest[1]], said


SHAPE = Shape(
    t.LlamaConfig(
        vocab_size=1000, hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4
    ),
    TuneConfig(),
    Precision(torch.device("cpu"), torch.float32),
)
CONFIG = PPOConfig(
    prompts_per_iteration=32, max_prompt_tokens=24, max_new_tokens=8, epochs=3, gradient_checkpointing=True
)


def test_operations_are_those_of_the_weights():
    """Two per weight and token forward; backward as many again, and once more where weights are trained."""
    network = SHAPE.network(torch.float32)
    weights = 2 * (4 * 64 * 64 + 3 * 64 * 176 + 2 * 64) + 64 + 64 * 1000  # without the embeddings
    assert pace.multiplied(network) == weights
    forward = 2 * weights * 32 * (24 + 8)
    lora = {"rollout": forward, "scoring": 2 * forward, "update": 3 * 3 * forward}
    assert pace.products(network, CONFIG, full=False) == lora
    assert pace.products(network, CONFIG, full=True) == lora | {"update": 3 * 4 * forward}


def test_measured_rates_are_scaled_by_weights_tokens_and_epochs(tmp_path):
    """The benchmark's own model and lengths take what it measured; three epochs three times its update."""
    names = {"rollout": 100, "forward": 50, "update": 25}
    row = {"gradient checkpointing": True} | {f"{name} tokens/s": rate for name, rate in names.items()}
    weights = pace.multiplied(SHAPE.network(torch.float32))
    measured = {"device": "a card", "prompt": 24, "response": 8, "rows": [row], "weights": weights}
    (tmp_path / "gpu.json").write_text(json.dumps(measured))
    found = pace.by_rates(tmp_path / "gpu.json", SHAPE, CONFIG)
    tokens = 32 * 8
    assert found.seconds == {"rollout": tokens / 100, "scoring": tokens / 50, "update": 3 * tokens / 25}
    assert "a card" in found.source and not found.least


def test_limits_of_a_container_are_this_machine(tmp_path):
    """Of this group and of those above it, in both versions of cgroups; without one, what is there."""
    everything, bound = machine.memory(tmp_path), machine.cores(tmp_path)
    assert everything > GIB and bound >= 1
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("9:cpu,cpuacct:/a/b\n4:memory:/a/b\n0::/c/d\n")
    files = {
        "sys/fs/cgroup/c/d/memory.max": "max",
        "sys/fs/cgroup/c/memory.max": str(GIB),
        "sys/fs/cgroup/c/d/cpu.max": "max 100000",
        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": str(2 * GIB),
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000",
        "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert machine.memory(tmp_path) == GIB
    assert machine.cores(tmp_path) == 0.5
