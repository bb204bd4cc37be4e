"""What a report is about, as far as the folders tell: model, seed, versions, date, what was planned.

All of it is for reading and may be missing: of a run that was copied without its checkpoints, config.yaml and
the logs are all there is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from report.markup import text
from report.rows import as_mapping


@dataclass(frozen=True)
class About:
    """Of one run; None where nothing says."""

    model: str | None = None
    """Where its policy began, and what kind of network that is."""
    seed: int | None = None
    iterations: int | None = None
    """How many the run was to have."""
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str | None = None
    """When the log was last written, UTC."""
    tokenizer: str | None = None
    """Hash of the tokenizer: numbers per token mean the same under one only."""


def about_run(folder: Path, config: str) -> About:
    """Read what stands in and around a run folder. `config`: text of its config.yaml."""
    settings = _settings(config)
    checkpoint = _newest_checkpoint(folder)
    state = _json(checkpoint / "state.json") if checkpoint else {}
    seed, iterations = settings.get("seed"), settings.get("iterations")
    versions = {str(name): str(version) for name, version in as_mapping(state.get("versions")).items()}
    tokenizer = as_mapping(state.get("setup")).get("tokenizer")
    written = datetime.fromtimestamp((folder / "metrics.jsonl").stat().st_mtime, UTC)
    return About(
        model=_model(settings, checkpoint, state),
        seed=seed if type(seed) is int else None,
        iterations=iterations if type(iterations) is int else None,
        versions=versions,
        date=f"{written:%Y-%m-%d %H:%M} UTC",
        tokenizer=tokenizer if isinstance(tokenizer, str) else None,
    )


def about_section(runs: Sequence[tuple[str, int, About]]) -> str:
    """The head of the page as HTML: a row per run, (name, last iteration, about)."""
    if not runs:
        return ""
    rows = "".join(
        "<tr>"
        + f'<th scope="row">{text(name)}</th>'
        + "".join(
            f"<td>{text(value)}</td>"
            for value in (
                about.model or "not recorded",
                "not recorded" if about.seed is None else about.seed,
                _progress(done, about.iterations),
                ", ".join(f"{name} {version}" for name, version in about.versions.items()) or "not recorded",
                about.date or "not recorded",
            )
        )
        + "</tr>"
        for name, done, about in runs
    )
    heads = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("run", "model", "seed", "iterations", "versions", "log written")
    )
    return (
        '<div class="wide"><table class="about">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def tokenizer_note(runs: Sequence[tuple[str, About]]) -> str | None:
    """A warning where runs whose policies read text in different tokens are in one report."""
    known = {about.tokenizer for _, about in runs if about.tokenizer}
    if len(known) < 2:
        return None
    return (
        "The runs have different tokenizers: what is counted per token or per response in nats (KL, entropy, "
        "tokens per second) cannot be compared between them. Rewards, tests and lengths in characters can."
    )


def _progress(done: int, planned: int | None) -> str:
    if planned is None:
        return str(done)
    return f"{done} of {planned}" + (", unfinished" if done < planned else "")


def _model(settings: Mapping[str, Any], checkpoint: Path | None, state: Mapping[str, Any]) -> str | None:
    """What the run was started on, and the network behind it where that can be found."""
    named = settings.get("sft")
    place = as_mapping(state.get("sft")).get("path")
    if checkpoint is None or not isinstance(place, str):
        return str(named) if named else None
    network = checkpoint / place
    config = _json(network / "config.json")
    origin = _settings(_text(network.parent / "config.yaml")).get("model")
    shape = [str(config["model_type"])] if "model_type" in config else []
    for key, unit in (("num_hidden_layers", "layers"), ("hidden_size", "wide"), ("vocab_size", "tokens")):
        shape += [f"{config[key]} {unit}"] if type(config.get(key)) is int else []
    parts = [str(named)] if named else []
    parts += [f"of {origin}"] if origin else []
    parts += [f"({', '.join(shape)})"] if shape else []
    return " ".join(parts) or None


def _newest_checkpoint(folder: Path) -> Path | None:
    numbered = [
        path for path in folder.glob("checkpoints/iteration-*") if re.fullmatch(r"iteration-\d+", path.name)
    ]
    return max(numbered, key=lambda path: int(path.name.partition("-")[2]), default=None)


def _settings(config: str) -> dict[str, Any]:
    """The settings in a config.yaml, which has them under the name of its command."""
    try:
        content = as_mapping(yaml.safe_load(config))
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    return as_mapping(next(iter(content.values()), None))


def _json(path: Path) -> dict[str, Any]:
    try:
        return as_mapping(json.loads(_text(path)))
    except (ValueError, RecursionError):
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
