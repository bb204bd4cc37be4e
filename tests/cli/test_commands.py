"""The commands end to end, on a model of a few thousand parameters and the real sandbox."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from small_runs import CORPUS, PPO, SMALL, command
from transformers import AutoModelForCausalLM

from data import Problem, TestCase, write_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split

SMALL_CORPUS = TinyCorpusConfig(sft=200, rl=40, validation=12, heldout=12)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_sft_run_leaves_a_model_and_its_losses(sft_run):
    metrics = rows(sft_run / "metrics.jsonl")
    assert metrics[-1]["validation_loss"] < metrics[0]["loss"]
    model = AutoModelForCausalLM.from_pretrained(sft_run / "model")
    assert model.config.hidden_size == 32
    assert (sft_run / "config.yaml").read_text(encoding="utf-8").startswith("sft:")


def test_a_model_folder_is_tuned_with_lora_and_merged(sft_run, tmp_path):
    """The way of a downloaded model: a folder in, LoRA on a file of problems, one merged model out."""
    problems = [
        Problem(id=str(n), prompt=f"Print {n}.", tests=(TestCase("", f"{n}"),), solutions=(f"print({n})\n",))
        for n in range(8)
    ]
    write_problems(tmp_path / "problems.jsonl", problems)
    arguments = ["--problems", tmp_path / "problems.jsonl", "--validation", "None", "--learning-rate", 0.01]
    assert command("sft", "--model", sft_run / "model", *arguments, *SMALL, "--out", tmp_path / "run") == 0
    before = AutoModelForCausalLM.from_pretrained(sft_run / "model").state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {f"model.layers.0.self_attn.{p}_proj.weight" for p in "qkvo"}


def test_a_ppo_run_leaves_what_the_readme_says(ppo_run):
    metrics = rows(ppo_run / "metrics.jsonl")
    assert [row["iteration"] for row in metrics] == [0, 1, 2]
    assert "validation/all_pass" in metrics[0] and "validation/all_pass" in metrics[2]
    assert metrics[1]["ppo/ref_kl"] == pytest.approx(0.0, abs=1e-4)
    assert metrics[1]["ppo/update_norm"] > 1e-3
    assert metrics[1]["reward/std"] > 0
    assert not any(name.startswith("seconds") for row in metrics for name in row)
    assert {"seconds/rollout", "seconds/score", "seconds/update"} <= set(rows(ppo_run / "timing.jsonl")[1])
    assert list((ppo_run / "tensorboard").iterdir())
    assert "<svg" in (ppo_run / "report.html").read_text(encoding="utf-8")
    checkpoints = sorted(path.name for path in (ppo_run / "checkpoints").iterdir())
    assert checkpoints == ["best", "iteration-000000", "iteration-000001", "iteration-000002"]


def check_judgeable(sample: dict) -> None:
    """A reader finds what was asked, as the model read it, and each test with what the program did."""
    problems = {p.id: p for split in ("rl", "heldout") for p in tiny_split(split, SMALL_CORPUS)}
    problem, verdict = problems[sample["problem"]], sample["verdict"]
    assert sample["problem_text"] == problem.prompt and problem.prompt in sample["prompt"]
    assert sample["prompt"].endswith("### Response:\n")
    assert verdict["num_tests"] == len(problem.tests)
    for test, run in zip(problem.tests, verdict["verdicts"], strict=verdict["compiles"]):
        assert (run["input"], run["expected"]) == (test.input, test.output)
        assert (run["stdout"].strip() == test.output.strip()) or not run["passed"]


def test_samples_hold_program_verdict_and_reward(ppo_run):
    samples = rows(ppo_run / "samples.jsonl")
    assert len(samples) == 16
    for sample in samples:
        start = sample["offset"]
        assert sample["response"][start : start + len(sample["program"])] == sample["program"]
        assert sample["outcome"] == sample["verdict"]["stage"]
        assert 0.0 <= sample["score"] <= 1.0
        weighed = 0.6 * sample["parts"]["functional"] + 0.4 * sample["parts"]["security"]
        assert weighed == pytest.approx(sample["score"])
        check_judgeable(sample)
    means = [row["reward/mean"] for row in rows(ppo_run / "metrics.jsonl")[1:]]
    for iteration, mean in enumerate(means, 1):
        scores = [s["score"] for s in samples if s["iteration"] == iteration]
        assert sum(scores) / len(scores) == pytest.approx(mean)


@pytest.mark.slow
def test_one_seed_gives_one_metrics_file(sft_run, ppo_run, tmp_path):
    assert command("ppo", "--sft", sft_run, "--out", tmp_path / "again", *PPO) == 0
    assert command("ppo", "--sft", sft_run, "--out", tmp_path / "other", *PPO, "--seed", 2) == 0
    original = (ppo_run / "metrics.jsonl").read_bytes()
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == original
    assert (tmp_path / "other" / "metrics.jsonl").read_bytes() != original


def test_a_resumed_run_is_the_uninterrupted_one(sft_run, ppo_run, tmp_path):
    out = tmp_path / "ppo"
    shutil.copytree(ppo_run, out, symlinks=True)
    shutil.copytree(sft_run, tmp_path / "sft")
    shutil.rmtree(out / "checkpoints" / "iteration-000002")  # as if it had been killed while saving
    assert command("ppo", "--resume", out) == 0
    for name in ("metrics.jsonl", "samples.jsonl", "tokens.jsonl"):
        assert (out / name).read_bytes() == (ppo_run / name).read_bytes()
    for name in ("adapter_model.safetensors", "value_head.safetensors", "state.safetensors"):
        last = "checkpoints/iteration-000002"
        assert (out / last / name).read_bytes() == (ppo_run / last / name).read_bytes()


@pytest.fixture(scope="module")
def continued(sft_run, ppo_run) -> Path:
    """A run that began with the weights of `ppo_run`; never written to."""
    trained, out = ppo_run / "checkpoints" / "iteration-000002", sft_run.parent / "continued"
    assert command("ppo", "--sft", sft_run, "--init", trained, "--out", out, *PPO) == 0
    return out


@pytest.mark.slow
def test_a_run_started_from_weights_resumes_as_itself(sft_run, continued, tmp_path):
    """The critic that came with the weights must not be started anew by the resumed run."""
    shutil.copytree(sft_run, tmp_path / "sft")
    stopped = tmp_path / "stopped"
    shutil.copytree(continued, stopped, symlinks=True)
    for iteration in (1, 2):
        shutil.rmtree(stopped / "checkpoints" / f"iteration-00000{iteration}")
    assert command("ppo", "--resume", stopped) == 0
    for name in ("metrics.jsonl", "checkpoints/iteration-000002/value_head.safetensors"):
        assert (stopped / name).read_bytes() == (continued / name).read_bytes()


def test_resume_can_go_further(sft_run, ppo_run, tmp_path):
    out = tmp_path / "ppo"
    shutil.copytree(ppo_run, out, symlinks=True)
    shutil.copytree(sft_run, tmp_path / "sft")  # both were moved: the checkpoint knows the way by itself
    assert command("ppo", "--resume", out, "--iterations", 3, "--allow-changes", "iterations") == 0
    assert command("ppo", "--resume", out) == 0  # and three iterations are what the run has now
    assert rows(out / "metrics.jsonl")[-1]["iteration"] == 3
    assert "iterations: 3" in (out / "config.yaml").read_text(encoding="utf-8")


def test_the_adapter_loads_with_peft_on_its_sft_model(sft_run, ppo_run):
    base = AutoModelForCausalLM.from_pretrained(sft_run / "model")
    checkpoint = ppo_run / "checkpoints" / "iteration-000002"
    PeftModel.from_pretrained(base, checkpoint)
    named = json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(named) == (sft_run / "model").resolve()


def test_init_starts_from_the_weights_alone(continued):
    first = rows(continued / "metrics.jsonl")[1]
    assert abs(first["ppo/ref_kl"]) > 1e-5  # the policy is no longer the reference
    assert first["iteration"] == 1 and first["ppo/kl_coef"] == 0.05


SCHEDULES = {
    "switch": ({"kind": "binary-to-partial", "switch_at": 1}, [0.0, 1.0]),
    "auto": ({"kind": "auto", "auto": {"window": 1, "solve_low": 0.99, "solve_high": 1.0}}, [0.0, 0.25]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["switch", "auto"])
@pytest.mark.usefixtures("drawn")
def test_a_schedule_in_a_preset_is_followed_logged_and_resumed(sft_run, tmp_path, capsys, monkeypatch, name):
    schedule, weights = SCHEDULES[name]
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({"ppo": {"schedule": schedule, "scale_rewards": True}}))
    out = tmp_path / "run"
    assert command("ppo", "--config", preset, "--sft", sft_run, "--out", out, *PPO) == 0
    metrics = (out / "metrics.jsonl").read_bytes()
    assert [row["reward/partial_weight"] for row in rows(out / "metrics.jsonl")[1:]] == weights
    assert capsys.readouterr().out.count("the objective is now ") == 1
    assert "weight of the ladder" in (out / "report.html").read_text(encoding="utf-8")
    for sample in rows(out / "samples.jsonl"):  # R under a weight of 0 is that of the true objective
        if weights[sample["iteration"] - 1] == 0.0 and sample["verdict"]["stage"] != "passes":
            assert sample["score"] == 0.0
    monkeypatch.setattr("cli.ppo.write_report", lambda path, runs: None)  # drawn once is enough
    shutil.rmtree(out / "checkpoints" / "iteration-000002")
    assert command("ppo", "--resume", out) == 0
    assert (out / "metrics.jsonl").read_bytes() == metrics


def test_any_python_function_is_a_reward(sft_run, tmp_path):
    (tmp_path / "mine.py").write_text("def score(pairs):\n    return [len(p) / 100 for _, p in pairs]\n")
    out = tmp_path / "run"
    assert command("ppo", "--sft", sft_run, "--out", out, "--reward", f"{tmp_path}/mine.py:score", *PPO) == 0
    for sample in rows(out / "samples.jsonl"):
        assert sample["score"] == pytest.approx(len(sample["program"]) / 100)


def test_evaluate_writes_the_agreed_json(sft_run, ppo_run, tmp_path, capsys):
    out = tmp_path / "evaluation.json"
    arguments = ["--num-problems", 6, "--samples", 2, "--max-new-tokens", 12, "--names", "SFT", "PPO"]
    corpus = ["--corpus.heldout", 12, "--corpus.validation", 12, "--corpus.rl", 40, "--corpus.sft", 200]
    assert command("evaluate", sft_run, ppo_run, *arguments, *corpus, *SMALL, "--out", out) == 0
    results = json.loads(out.read_text())
    assert results["problems"] == 6
    assert [model["name"] for model in results["models"]] == ["SFT", "PPO"]
    for model in results["models"]:
        assert sum(model["stages"].values()) == pytest.approx(1.0)
        for column in ("syntax", "any_pass", "all_pass", "reward", "reward_pass_fraction", "length"):
            assert model[column]["low"] <= model[column]["mean"] <= model[column]["high"]
    shown = capsys.readouterr().out
    assert "All-P %" in shown and "R with" in shown
    samples = rows(tmp_path / "evaluation_samples.jsonl")
    expected = [(name, number) for name in ("SFT", "PPO") for _ in range(6) for number in (0, 1)]
    assert [(s["model"], s["sample"]) for s in samples] == expected
    for sample in samples:
        check_judgeable(sample)
    for model in results["models"]:
        scores = [s["score"] for s in samples if s["model"] == model["name"]]
        assert sum(scores) / len(scores) == pytest.approx(model["reward"]["mean"])


def test_results_in_one_folder_keep_their_samples_apart(sft_run, tmp_path, capsys):
    few = ["--num-problems", 2, "--max-new-tokens", 4, *SMALL, *CORPUS]
    assert command("evaluate", sft_run, *few, "--out", tmp_path / "x.json") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x.json",
        "x.md",
        "x_evaluation_samples.jsonl",
    ]
    assert command("evaluate", sft_run, *few, "--out", tmp_path) == 2
    assert f"is a folder; name a file, {tmp_path / 'evaluation.json'}" in capsys.readouterr().err


def test_the_same_model_measured_twice_is_the_same(sft_run, tmp_path):
    for name in ("a", "b"):
        arguments = [sft_run, "--num-problems", 4, "--max-new-tokens", 12, *SMALL, "--out", tmp_path / name]
        assert command("evaluate", *arguments) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_sample_shows_program_verdict_and_reward(ppo_run, capsys):
    typed = ["--problem", "Print 1.", "--test", "=1\\n", "--max-new-tokens", 8]
    assert command("sample", "--checkpoint", ppo_run, *typed, "--threads", 1) == 0
    shown = capsys.readouterr().out
    assert "stage: " in shown and "R = " in shown and "of 1" in shown


def test_problems_of_a_file_over_the_prompt_limit_are_counted(sft_run, tmp_path, capsys):
    problems = [
        Problem(id=str(n), prompt="word " * (200 if n else 1), tests=(TestCase("", "1"),)) for n in range(8)
    ]
    write_problems(tmp_path / "problems.jsonl", problems)
    common = ["--sft", sft_run, "--problems", tmp_path / "problems.jsonl", *PPO, "--iterations", 1]
    assert command("ppo", *common, "--out", tmp_path / "kept") == 0
    assert "7 of 8 prompts over 64 tokens, kept with the end of their text" in capsys.readouterr().out
    assert rows(tmp_path / "kept" / "metrics.jsonl")[1]["rollout/truncated_prompts"] == 7
    assert command("ppo", *common, "--out", tmp_path / "dropped", "--drop-long") == 0
    assert "PPO: 1 problems" in capsys.readouterr().out


def test_a_run_says_what_there_is_to_say_and_where_its_report_is(sft_run, tmp_path, capsys):
    """That no prompt was cut is nothing to say."""
    out = tmp_path / "run"
    assert command("ppo", "--sft", sft_run, "--out", out, *PPO, "--iterations", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "PPO: 40 problems, 8 programs per iteration"
    assert lines[-1].endswith(f"; curves and samples: {out / 'report.html'}")
