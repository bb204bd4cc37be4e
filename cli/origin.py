"""Where an exported model comes from, as far as the files beside its checkpoint tell: for its model card.

Nothing here is needed to load the model. So what is missing (a copied checkpoint has no run around it) or
cannot be read is left out of the card; only what the user names is an error.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import constants

from cli.errors import UsageError
from report.read import ReportError, read_evaluation

SCRATCH = "tiny"
"""What SFT calls a model that it makes from scratch."""


@dataclass(frozen=True)
class Origin:
    """A checkpoint, or a model before PPO, and what stands around it."""

    checkpoint: Path
    """The checkpoint, or the model folder."""
    state: Mapping[str, Any]
    """state.json of the checkpoint; empty for a model before PPO."""
    base: Path
    """Folder of the model that the policy was trained on."""
    evaluation: Path | None = None
    """A result of evaluate.py that the user named."""

    @property
    def run(self) -> Path | None:
        """The PPO run that the checkpoint is in, or the SFT run of the model."""
        if self.state:
            return self.checkpoint.parents[1] if self.checkpoint.parent.name == "checkpoints" else None
        return self.sft_run

    @property
    def sft_run(self) -> Path | None:
        """The SFT run that wrote the base."""
        return self.base.parent if self.base.name == "model" else None

    def settings(self, section: Literal["ppo", "sft"]) -> dict[str, Any]:
        """What PPO, or the SFT before it, was called with."""
        folder = self.sft_run if section == "sft" else self.run
        text = None if folder is None else _text(folder / "config.yaml")
        content = _mapping(text or "").get(section)
        return content if isinstance(content, dict) else {}

    def sources(self) -> list[str]:
        """Models that it comes from, as they were named, nearest first; none that was made from scratch."""
        named = (self.settings("ppo").get("sft"), self.settings("sft").get("model"))
        return [str(name) for name in named if name and name != SCRATCH]

    def from_scratch(self) -> bool:
        """Whether SFT made the model, so that it holds nobody else's weights."""
        return self.settings("sft").get("model") == SCRATCH

    def hub_name(self) -> str | None:
        """The nearest source that is on the hub: in its cache, since a path can look like a hub name."""
        cached = (
            Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" for name in self.sources()
        )
        return next((n for n, folder in zip(self.sources(), cached, strict=True) if folder.is_dir()), None)

    def licence(self) -> str | None:
        """What the card of the base, or of the model that SFT began with, says in its head."""
        for folder in (self.base, *map(Path, self.sources())):
            found = re.match(r"---\n(.*?)\n---", _text(folder / "README.md") or "", flags=re.DOTALL)
            licence = _mapping(found[1]).get("license") if found else None
            if isinstance(licence, str):
                return licence
        return None

    def validations(self) -> dict[int, dict[str, float]]:
        """Iteration -> means over validation problems: before PPO, and the last up to this checkpoint."""
        text = _text(self.run / "metrics.jsonl") if self.run and self.state else None
        rows = []
        for line in (text or "").splitlines():
            try:
                row = json.loads(line)
                if row["iteration"] <= self.state["iteration"] and "validation/all_pass" in row:
                    rows.append(row)
            except (ValueError, TypeError, KeyError):
                return {}
        return {row["iteration"]: row for row in (*rows[:1], *rows[-1:])}

    def evaluated(self) -> dict[str, Any] | None:
        """The evaluation that was named; else evaluation.json of the run or beside it, if it is of this run.

        Raises UsageError where the one that was named is none.
        """
        if self.evaluation is not None:
            try:
                return read_evaluation(self.evaluation)
            except ReportError as error:
                raise UsageError(f"--evaluation {error}") from None
        if (run := self.run) is None:
            return None
        for folder in (run, run.parent):
            try:
                content = read_evaluation(folder / "evaluation.json")
            except ReportError:
                continue
            measured = {Path(str(model.get("checkpoint", ""))).resolve() for model in content["models"]}
            if not measured.isdisjoint({run.resolve(), self.checkpoint.resolve()}):
                return content
        return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _mapping(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}
