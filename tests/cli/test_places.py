"""A folder of the wrong kind is named for what it is; a copied checkpoint and a hub name find their model."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from small_runs import PPO, SFT, SMALL, command
from test_bad_input import refused

from cli.places import kind_of

TINY_EVALUATION = ["--num-problems", 2, "--max-new-tokens", 4, *SMALL]


@pytest.fixture
def places(sft_run, ppo_run, tmp_path) -> dict[str, Path]:
    """A folder of each kind."""
    demo = tmp_path / "demo"
    shutil.copytree(sft_run, demo / "sft")
    shutil.copytree(ppo_run, demo / "ppo", symlinks=True)
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(sft_run / "config.yaml", begun)
    other = tmp_path / "other"
    other.mkdir()
    return {
        "sft run": demo / "sft",
        "begun": begun,
        "ppo run": demo / "ppo",
        "demo": demo,
        "checkpoint": demo / "ppo" / "checkpoints" / "iteration-000001",
        "model": demo / "sft" / "model",
        "other": other,
        "missing": tmp_path / "missing",
    }


def test_kinds_are_told_apart(places):
    kinds = {name: kind_of(path) for name, path in places.items()}
    assert kinds.pop("begun") == "sft run"
    assert kinds == {name: name for name in kinds}


WRONG = {
    (
        "sft",
        "ppo run",
    ): "PPO weights, not a model; --init starts from them, --sft names the model that they stand",
    ("sft", "checkpoint"): "PPO weights, not a model",
    ("sft", "demo"): "a demo, which holds two runs; its model is {sft run}",
    ("sft", "begun"): "this SFT run has no model yet",
    ("sft", "other"): "no safetensors weights there",
    ("sft", "missing"): "no such model folder",
    (
        "resume",
        "sft run",
    ): "an SFT run; go on with train.py sft --resume {sft run}, or train its model with train.py ppo --sft",
    ("resume", "begun"): "an SFT run; go on with",
    ("resume", "model"): "a model, not a run; train it with train.py ppo --sft {model}",
    ("resume", "demo"): "a demo, which holds two runs; the one to go on with is {ppo run}",
    ("resume", "checkpoint"): "a checkpoint; name the run that it is in: {ppo run}",
    ("resume", "other"): "no run there",
    ("resume", "missing"): "no run there",
    ("init", "sft run"): "a model before PPO; --sft {sft run} starts from it, without --init",
    ("init", "model"): "a model before PPO",
    ("init", "demo"): "a demo, which holds two runs; its PPO run is {ppo run}",
    ("init", "other"): "no checkpoint there",
    ("model", "ppo run"): "PPO weights, not a model",
    ("model", "demo"): "a demo, which holds two runs; its model is {sft run}",
    ("model", "missing"): "no such model folder",
    ("evaluate", "demo"): "a demo, which holds two runs; name {sft run} or {ppo run}",
    ("evaluate", "begun"): "this SFT run has no model yet",
    ("evaluate", "missing"): "no such checkpoint",
    ("sample", "demo"): "a demo, which holds two runs; name {sft run} or {ppo run}",
}


def test_the_wrong_kind_of_folder_is_named_for_what_it_is(capsys, places, sft_run, tmp_path):
    out = ["--out", tmp_path / "out"]
    for (flag, kind), answer in WRONG.items():
        path = places[kind]
        arguments = {
            "sft": ["ppo", "--sft", path, *out, *PPO],
            "resume": ["ppo", "--resume", path],
            "init": ["ppo", "--sft", sft_run, "--init", path, *out, *PPO],
            "model": ["sft", "--model", path, *out, *SFT],
            "evaluate": ["evaluate", path],
            "sample": ["sample", "--checkpoint", path, "--problem", "x"],
        }[flag]
        said = refused(capsys, *arguments)
        assert answer.format(**places) in said, (flag, kind, said)
        assert not (tmp_path / "out").exists()


@pytest.fixture
def copied(ppo_run, tmp_path) -> Path:
    """A run that was copied without its SFT model, and so cannot find it."""
    shutil.copytree(ppo_run, tmp_path / "far" / "away" / "ppo", symlinks=True)
    return tmp_path / "far" / "away" / "ppo"


@pytest.fixture
def other_sft(sft_run, tmp_path) -> Path:
    """An SFT run with other weights."""
    shutil.copytree(sft_run, tmp_path / "other-sft")
    weights = tmp_path / "other-sft" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return tmp_path / "other-sft"


def test_a_copied_checkpoint_is_told_its_model(capsys, copied, other_sft, sft_run, tmp_path):
    checkpoint = copied / "checkpoints" / "iteration-000002"
    typed = ["sample", "--checkpoint", checkpoint, "--problem", "x", "--max-new-tokens", 4, *SMALL]
    assert "name it with --sft DIR" in refused(capsys, "evaluate", copied)
    assert "name it with --sft DIR" in refused(capsys, *typed)
    assert "hash differs" in refused(capsys, "evaluate", copied, "--sft", other_sft)
    assert "hash differs" in refused(capsys, *typed, "--sft", other_sft)
    assert command("evaluate", copied, "--sft", other_sft, sft_run, *TINY_EVALUATION) == 0
    assert command(*typed, "--sft", sft_run / "model") == 0
    begin = ["ppo", "--init", checkpoint, "--out", tmp_path / "next", *PPO, "--iterations", 1]
    assert "stands on another SFT model" in refused(capsys, *begin, "--sft", other_sft)
    assert command(*begin, "--sft", sft_run) == 0


@pytest.mark.slow
def test_a_copied_run_goes_on_once_it_is_told_its_model(capsys, copied, other_sft, sft_run):
    config = copied / "config.yaml"  # as if it had been started where its paths meant something
    config.write_text(config.read_text().replace(str(sft_run), "runs/elsewhere"))
    assert "its SFT model is missing" in refused(capsys, "ppo", "--resume", copied)
    assert "hash differs" in refused(capsys, "ppo", "--resume", copied, "--sft", other_sft)
    longer = ["--iterations", 3, "--allow-changes", "iterations"]
    assert command("ppo", "--resume", copied, "--sft", sft_run, *longer) == 0
    assert command("ppo", "--resume", copied) == 0  # and from then on it knows by itself


@pytest.fixture
def hub(sft_run, tmp_path, monkeypatch) -> str:
    """A model in the hub's cache as a download leaves it there, and no network."""
    folder = tmp_path / "hub" / "models--someone--small"
    shutil.copytree(sft_run / "model", folder / "snapshots" / "0123abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return "someone/small"


@pytest.mark.slow
def test_hub_names_work_wherever_a_model_is_named(capsys, hub, copied, tmp_path):
    out = tmp_path / "run"
    assert command("ppo", "--sft", hub, "--out", out, *PPO, "--iterations", 1) == 0
    assert command("ppo", "--resume", out) == 0
    assert command("evaluate", hub, out, *TINY_EVALUATION) == 0
    assert command("evaluate", copied, "--sft", hub, *TINY_EVALUATION) == 0
    assert command("sample", "--checkpoint", hub, "--problem", "x", "--max-new-tokens", 4, *SMALL) == 0
    few = ["--epochs", 0.5, "--max-tokens", 64]
    assert command("sft", "--model", hub, "--out", tmp_path / "sft", *SFT, *few) == 0
    entry = json.loads((out / "checkpoints/iteration-000001/state.json").read_text())["sft"]
    assert entry["path"].endswith("snapshots/0123abc") and entry["hub"] == hub
    last = out / "checkpoints/iteration-000001"
    for exported, flags in ((tmp_path / "a", []), (tmp_path / "b", ["--sft", hub])):
        assert command("export", last, *flags, "--out", exported) == 0
        config = json.loads((exported / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (hub, "0123abc")
        assert f"base_model: {hub}\n" in (exported / "README.md").read_text()
    assert command("export", hub, "--out", tmp_path / "c") == 0
    assert f'from_pretrained("{hub}")' in (last / "README.md").read_text()
    for missing in ("someone/else", "nobody"):
        said = refused(capsys, "ppo", "--sft", missing, "--out", tmp_path / "o", *PPO)
        assert f"--sft {missing}: no such model folder, and none of this name from the hub" in said
        assert f"{missing}: no such checkpoint, and none" in refused(capsys, "evaluate", missing)


def test_a_model_that_left_the_cache_is_asked_for_by_its_name(capsys, hub, tmp_path):
    out = tmp_path / "run"
    assert command("ppo", "--sft", hub, "--out", out, *PPO, "--iterations", 1) == 0
    shutil.rmtree(tmp_path / "hub")
    said = refused(capsys, "evaluate", out)
    assert f"its SFT model is missing: {hub} of the hub" in said and f"name it with --sft {hub}" in said


def test_a_mistyped_path_is_not_looked_up(capsys, hub, tmp_path, monkeypatch):
    """The folder before the slash is here: this was never a hub name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr("cli.places.snapshot_download", None)
    said = refused(capsys, "ppo", "--sft", "runs/stf", "--out", tmp_path / "o", *PPO)
    assert said == "error: --sft runs/stf: no such model folder\n"
