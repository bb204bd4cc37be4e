"""What the checkpoints of an evaluation were trained on, as far as their runs tell: for the overlap."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.demonstrations import read_demonstrations
from cli.errors import UsageError
from cli.origin import Origin
from cli.problems import read_problems
from data import DataError
from data.tiny.corpus import TinyCorpusConfig
from ppo.run.folder import Checkpoint


def trained_texts(
    found: Sequence[Checkpoint | Path], named: Sequence[str], corpus: TinyCorpusConfig
) -> tuple[dict[str, list[str]], list[str]]:
    """Source -> the texts of its problems, and notes on sources that cannot be read.

    Sources are what the settings of each run and of its SFT name, and those `named`, which have to be there.

    Raises:
        DataError, UsageError: one of `named` cannot be used.
    """
    texts = {source: _texts(source, corpus) for source in named}
    notes: dict[str, None] = {}  # in their order, each once
    for source, drawn in (pair for place in found for pair in _sources(place)):
        if source not in texts:
            try:
                texts[source] = _texts(source, TinyCorpusConfig(**drawn))
            except (DataError, UsageError, OSError, TypeError, ValueError) as error:
                notes[f"overlap with {source}, which a model was trained on, is unknown: {error}"] = None
    return texts, list(notes)


def _texts(source: str, corpus: TinyCorpusConfig) -> list[str]:
    """Of problems, or of the prompts of demonstrations."""
    try:
        return [problem.prompt for problem in read_problems(source, corpus, untested=True)]
    except DataError:
        return [problem.prompt for problem, _ in read_demonstrations(source, corpus, "").pairs]


def _sources(found: Checkpoint | Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each source that the settings of a run name, with those of the corpus that `tiny/...` then means."""
    if isinstance(found, Checkpoint):
        origin = Origin(found.path, found.state, found.base or found.sft_path)
    else:
        model = found / "model"
        origin = Origin(found, {}, model if model.is_dir() else found)
    for settings in (origin.settings("sft"), origin.settings("ppo") if origin.state else {}):
        if source := settings.get("problems"):
            yield str(source), settings.get("corpus") or {}
