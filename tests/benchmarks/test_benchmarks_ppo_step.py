"""The benchmark of a PPO step, on the smallest model that has one; and what its floor counts."""

import json
from collections import Counter

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import floor, ppo_step, workload
from benchmarks.peers import task as tasks
from benchmarks.peers.meter import Meter

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workload")
    workload.prepare(folder, steps=2, response=4, shape=SHAPE, files=3)
    return tasks.read(folder)


def test_prompts_are_of_one_length_and_no_two_alike(task):
    assert len(task.prompts) == len(set(map(tuple, task.prompts))) == 2 * tasks.BATCH
    assert {len(ids) for ids in task.prompts} == {workload.PROMPT}
    assert task.rows(1) == task.prompts[tasks.BATCH :]


def test_what_is_reported_of_a_step(task, monkeypatch):
    monkeypatch.setattr(floor, "CHUNK_SECONDS", 0.0)
    found = ppo_step.measure(task, Meter(in_turn=False), steps=2, micro=4)
    for clock in ("cpu", "wall"):
        spent = {key: value for key, value in found.items() if key.startswith(f"{clock}.")}
        (total,) = spent.pop(f"{clock}.steps")  # the first step is not counted
        assert spent.pop(f"{clock}.total") == total
        assert {f"{clock}.{name}" for name in ("rollout", "score", "forward", "update")} < spent.keys()
        assert sum(spent.values()) == pytest.approx(total, abs=0.01)
    least = {key: value for key, value in found.items() if key.startswith("floor.")}
    assert least["floor.total"] == pytest.approx(
        sum(least[f"floor.{phase}"] for phase in ("rollout", "forward", "update")), abs=0.002
    )
    others = {"rss.imports", "rss.peak", "rss.above_imports", "rss.steps"}
    peaks = {key: value for key, value in found.items() if key.startswith("rss.") and key not in others}
    assert {f"rss.{name}" for name in ("setup", "rollout", "forward", "update")} <= peaks.keys()
    assert found["rss.imports"] < found["rss.peak"] == max(peaks.values())
    generated = tasks.BATCH * task.response
    assert found["tokens_per_second"] * found["cpu.rollout"] == pytest.approx(generated, rel=0.05)
    json.dumps(found)


def test_every_weight_of_the_layers_is_a_product_of_the_floor():
    network = LlamaForCausalLM(LlamaConfig(**SHAPE))
    counted = Counter((x.outputs, x.inputs) for x in floor._linears(network.config, rows=9, last_rows=9))
    there = Counter(tuple(p.shape) for p in network.model.layers.parameters() if p.dim() == 2)
    assert counted == there


def test_the_last_layer_of_a_prompt_has_keys_and_values_only():
    """Rollout: of prompts no queries and nothing that follows from them; then token by token."""
    config = LlamaConfig(**SHAPE | {"num_hidden_layers": 1})
    work = floor._rollout(config, prompt=100, response=5, batch=2)
    prompts = {shape: count for shape, count in work.items() if shape[:2] == (1, 200)}
    assert prompts == {(1, 200, 32, 16): 2}  # two of 4 heads' width
    assert work[1, 2, 32, 300] == 5 and work[1, 2, 48, 32] == 4  # logits five times, MLP four times


def test_training_costs_three_passes_less_what_nobody_asks_for():
    """Of weights alone, with all rows and many layers: forward once and once more for the gradient."""
    config = LlamaConfig(**SHAPE | {"num_hidden_layers": 50})

    def operations(work):
        return sum(b * m * k * n * count for (b, m, k, n), count in work.items())

    once = operations(floor._forward(config, 1, 64, 3))
    trained = operations(floor._training(config, 1, 1, 64, 3))
    adapters = 6 * sum(
        x.rows * (x.inputs + x.outputs) / 2 for x in floor._linears(config, rows=3 * 64, last_rows=3 * 64)
    )
    attention = operations(floor._all_attention(config, 3, 64, 64))
    assert trained == pytest.approx(2 * once + adapters + attention, rel=0.01)


def test_a_model_that_is_misread_is_refused(task):
    """As older versions of transformers do, which know nothing of rope_parameters."""
    network = LlamaForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    assert task.check(network) <= 1e-5
    config = LlamaConfig.from_pretrained(task.model)
    config.rope_parameters = config.rope_parameters | {"rope_theta": 100.0}
    misread = LlamaForCausalLM.from_pretrained(task.model, config=config, dtype=torch.float32)
    with pytest.raises(SystemExit, match="misreads"):
        task.check(misread)


def test_older_versions_find_rope_theta(tmp_path, task):
    """Where a configuration has it among rope_parameters alone, as transformers 5 writes it."""
    config = json.loads((task.model / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    config["rope_parameters"]["rope_theta"] = 12345.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    workload._link(tmp_path, tmp_path / "seen")
    assert json.loads((tmp_path / "seen" / "config.json").read_text())["rope_theta"] == 12345.0
