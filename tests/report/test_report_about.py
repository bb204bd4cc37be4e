"""The head of the page: what a folder tells of its run, and what it does not."""

import json
import os
from pathlib import Path

from report_inputs import write_run

from report.about import About, about_run, about_section, tokenizer_note
from report.page import write_report


def run_with(
    folder: Path, config: str = "ppo:\n  sft: runs/sft\n  seed: 7\n  iterations: 40\n", **state
) -> Path:
    run = write_run(folder / "ppo", iterations=2, samples=1)
    (run / "config.yaml").write_text(config, encoding="utf-8")
    if state:
        saved = run / "checkpoints" / "iteration-000002"
        saved.mkdir(parents=True)
        (saved / "state.json").write_text(json.dumps(state), encoding="utf-8")
    os.utime(run / "metrics.jsonl", (1_700_000_000, 1_700_000_000))
    return run


def about(run: Path) -> About:
    return about_run(run, (run / "config.yaml").read_text(encoding="utf-8"))


def test_what_stands_around_a_run_is_told(tmp_path):
    model = tmp_path / "sft" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576}')
    (tmp_path / "sft" / "config.yaml").write_text("sft:\n  model: SmolLM2\n")
    run = run_with(
        tmp_path, sft={"path": "../../../sft/model"}, versions={"torch": "2.13.0"}, setup={"tokenizer": "ab"}
    )
    assert about(run) == About(
        model="runs/sft of SmolLM2 (llama, 30 layers, 576 wide)",
        seed=7,
        iterations=40,
        versions={"torch": "2.13.0"},
        date="2023-11-14 22:13 UTC",
        tokenizer="ab",
    )
    section = about_section([("ppo", 17, about(run))])
    assert "17 of 40, unfinished" in section and "torch 2.13.0" in section


def test_of_the_newest_checkpoint(tmp_path):
    run = run_with(tmp_path, versions={"torch": "old"})
    newer = run / "checkpoints" / "iteration-1000000"
    newer.mkdir()
    (newer / "state.json").write_text('{"versions": {"torch": "new"}}')
    (run / "checkpoints" / "iteration-000003.damaged").mkdir()
    assert about(run).versions == {"torch": "new"}


def test_what_is_not_there_or_broken_is_not_recorded(tmp_path):
    """A run that was copied without its checkpoints, settings that nobody can read, JSON cut off."""
    for number, config in enumerate(("", "{", "- 1", "ppo: 3", "ppo:\n  seed: [1]\n", "a: &a [*a]")):
        run = run_with(tmp_path / str(number), config)
        assert about(run) == About(date="2023-11-14 22:13 UTC")
    run = run_with(tmp_path / "cut", "", versions={"torch": "2.13.0"})
    (run / "checkpoints/iteration-000002/state.json").write_text('{"versions": {"tor')
    assert about(run).versions == {} and about_section([("ppo", 2, about(run))]).count("not recorded") == 3


def test_different_tokenizers_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("report.figures.draw", lambda plots, key: "<svg></svg>")
    runs = [run_with(tmp_path / name, setup={"tokenizer": name}) for name in ("a", "b")]
    write_report(tmp_path / "report.html", runs)
    assert "The runs have different tokenizers" in (tmp_path / "report.html").read_text(encoding="utf-8")
    same = [("a", About(tokenizer="x")), ("b", About(tokenizer="x")), ("c", About())]
    assert tokenizer_note(same) is None
