"""The presets that come with the project: each command of each runs, shrunk to a few seconds."""

from pathlib import Path

import pytest
import yaml
from small_runs import CORPUS, command

PRESETS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))

SMALL = ["--device", "cpu", "--dtype", "float32", "--threads", 1, *CORPUS, "--corpus.sft", 4]
SMALL += ["--prompt", "study", "--system", ""]  # the small model has no chat template
SFT = ["--problems", "tiny/sft", "--validation", "None", "--epochs", 1, "--batch-size", 4]
PPO = [
    *("--problems", "tiny/rl", "--validation", "None", "--iterations", 1, "--prompts-per-iteration", 2),
    *("--minibatch-size", 2, "--max-new-tokens", 4),
]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_runs_with_its_settings_on_a_small_model(path, sft_run, tmp_path, monkeypatch):
    """What a preset sets beside sizes, model and device holds: its sections fit together and are taken."""
    monkeypatch.setattr("cli.ppo.write_report", lambda *args, **kwargs: None)  # seconds of matplotlib each
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    preset = ["--config", path, *SMALL]
    model = sft_run
    if "sft" in sections:
        model = tmp_path / "sft"
        assert command("sft", *preset, *SFT, "--model", sft_run, "--out", model) == 0
    assert command("ppo", *preset, *PPO, "--sft", model, "--out", tmp_path / "ppo") == 0
    settings = yaml.safe_load((tmp_path / "ppo" / "config.yaml").read_text(encoding="utf-8"))["ppo"]
    assert {key: settings[key] for key in ("epochs", "learning_rate", "kl_coef", "lora_targets")} == {
        key: sections["ppo"][key] for key in ("epochs", "learning_rate", "kl_coef", "lora_targets")
    }
