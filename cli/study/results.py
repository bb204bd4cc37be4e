"""What the runs of a study came to: study.json, study.md and its figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from cli.sample_files import beside
from cli.sample_numbers import kept_numbers
from cli.study.arms import Arm, pairs, phases_in_all, swept
from cli.study.figure import draw_arms, draw_sweep
from evaluation.study import study_markdown, study_results
from evaluation.summary import Numbers
from models.checkpoints import library_versions
from models.storage import write_json
from ppo.run.folder import checkpoint_name
from reward import RewardConfig


@dataclass(frozen=True)
class Judged:
    """How all models of a study are judged, and how long an arm trains."""

    objective: RewardConfig
    """R of every model is by this one, whatever it was trained on."""
    alpha: float
    """The weight of R_func under which PPO-fresh trained: its place in a sweep."""
    phase: int
    """Programs of one phase of PPO."""
    seed: int
    """Of the bootstrap."""
    setting: Mapping[str, Any]
    """Preset, model and problems, for the reader."""


def write_results(
    out: Path, measured: Mapping[str, Mapping[int, Path]], start: str, arms: Sequence[Arm], judged: Judged
) -> dict[str, Any]:
    """Write what there is so far; the content of study.json.

    `measured`: title -> training seed -> the evaluation.json of that model; `start`: the title of SFT.
    """
    measured = {title: of for title, of in measured.items() if of}
    groups, about = _read(measured, judged.objective)
    kept = [arm for arm in arms if arm.title in groups]
    asked = [pair for pair in pairs(start, kept) if groups.keys() >= set(pair)]
    programs = {start: 0} | {arm.title: phases_in_all(arm) * judged.phase for arm in kept}
    results = {
        **about,
        **judged.setting,
        "versions": library_versions(),
        "programs": {title: programs[title] for title in groups},
        **study_results(groups, asked, judged.seed),
    }
    write_json(out / "study.json", results)
    (out / "study.md").write_text(study_markdown(results), encoding="utf-8")
    draw_arms(out / "study.svg", results["models"])
    weights = swept(kept, judged.alpha)
    if len(weights) > 1:
        models = {model["name"]: model for model in results["models"]}
        draw_sweep(out / "sweep.svg", {alpha: models[title] for alpha, title in weights.items()})
    return results


def _read(
    measured: Mapping[str, Mapping[int, Path]], objective: RewardConfig
) -> tuple[dict[str, dict[int, Numbers]], dict[str, Any]]:
    """The numbers of every model, and what holds of all: how many problems and samples, notes."""
    groups: dict[str, dict[int, Numbers]] = {}
    about: dict[str, Any] = {}
    notes: dict[str, None] = {}
    first: list[str] | None = None
    for title, by_seed in measured.items():
        groups[title] = {}
        for seed, path in by_seed.items():
            content = json.loads(path.read_text(encoding="utf-8"))
            numbers, problems = kept_numbers(title, beside(path, "evaluation_samples.jsonl"), objective)
            first = first or problems
            if problems != first:
                raise UsageError(f"{path}: not on the problems of the others; remove it, and measure again")
            about = {key: content[key] for key in ("problems", "source", "samples", "temperature", "seed")}
            notes |= dict.fromkeys(content["notes"])
            if seen := content.get("overlap", {}).get("problems"):
                sources = " and ".join(content["overlap"]["sources"])
                notes[f"{seen} of the problems stand in {sources} too, which models were trained on"] = None
            if _stands_at_its_start(path.with_suffix("")):
                notes[
                    f"{title}, seed {seed}: measured as it began, for no later checkpoint passed more of the "
                    "validation problems"
                ] = None
            groups[title][seed] = numbers
    return groups, {**about, "notes": list(notes)}


def _stands_at_its_start(run: Path) -> bool:
    """Whether the checkpoint that stands for a run is the one from before its first iteration.

    Its numbers are then those of the model that it began from, and say nothing of its reward.
    """
    best = run / "checkpoints" / "best"
    return best.is_dir() and best.resolve().name == checkpoint_name(0)
