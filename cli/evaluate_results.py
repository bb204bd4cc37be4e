"""What `evaluate.py` writes of models that it has measured: evaluation.json, but for how it is printed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cli.evaluate_settings import FIRST, EvaluateCommand
from cli.secure import families_of, security_summary, what_decides
from data import Problem
from evaluation.overlap import overlapping
from evaluation.summary import Numbers, comparisons, model_summary, recipe_comparisons, recipes, without


class Asked(NamedTuple):
    """How the problems were put to a model."""

    prompt: str
    """Kind of template."""
    vocabulary: str
    """Equal for models whose tokens are the same."""
    cut: int
    """Prompts over the limit, of which a part was left out."""


class MeasuredModel(NamedTuple):
    """What is left of a model when the next is loaded: arrays of its answers' numbers."""

    sampled: Numbers
    greedy: Numbers | None
    asked: Asked


def evaluation_results(
    settings: EvaluateCommand,
    title: str,
    names: Sequence[str],
    problems: Sequence[Problem],
    measured: Sequence[MeasuredModel],
    trained: Mapping[str, list[str]],
    notes: Sequence[str],
) -> dict[str, Any]:
    """The content of evaluation.json.

    Args:
        title: of a suite; empty where problems were named. `names`, `measured`: of each checkpoint.
        trained: prompts that the models were trained on, by where they stand.
    """
    families = families_of(problems)
    return {
        **({"suite": title} if title else {}),
        **what_decides(problems),
        "problems": len(problems),
        "source": settings.problems,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "seed": settings.seed,
        "models": [
            {"name": name, "checkpoint": str(path)}
            | model_summary(model.sampled, settings.seed)
            | security_summary(model.sampled, families, settings.seed)
            for name, path, model in zip(names, settings.checkpoints, measured, strict=True)
        ],
        **_compared(settings, names, measured),
        **_overlap(settings, problems, measured, trained),
        "notes": [*_reservations(measured), *notes],
    }


def _compared(
    settings: EvaluateCommand, names: Sequence[str], models: Sequence[MeasuredModel]
) -> dict[str, Any]:
    """Pairs of models, or of recipes; the same of greedy answers."""
    seed = settings.seed
    found: dict[str, Any] = {}
    sampled = [model.sampled for model in models]
    if settings.seeds > 1:
        groups = {
            names[start].removesuffix(FIRST): sampled[start : start + settings.seeds]
            for start in range(0, len(sampled), settings.seeds)
        }
        found = {"recipes": recipes(groups), "recipe_comparisons": recipe_comparisons(groups)}
    elif len(sampled) > 1:
        found = {"comparisons": comparisons(sampled, seed)}
    if settings.greedy:
        greedy = [model.greedy for model in models if model.greedy]
        found["greedy"] = {
            "models": [{"name": each.name} | model_summary(each, seed) for each in greedy],
            "comparisons": [] if settings.seeds > 1 else comparisons(greedy, seed),
        }
    return found


def _overlap(
    settings: EvaluateCommand,
    problems: Sequence[Problem],
    models: Sequence[MeasuredModel],
    trained: Mapping[str, list[str]],
) -> dict[str, Any]:
    """How many of the problems stood among those of training, and the scores without them."""
    if not trained:
        return {}
    seen = overlapping([p.prompt for p in problems], [text for texts in trained.values() for text in texts])
    sampled = [model.sampled for model in models]
    apart = without(sampled, seen, settings.seed) if seen.any() and not seen.all() else []
    return {"overlap": {"problems": int(seen.sum()), "sources": list(trained), "models": apart}}


def _reservations(models: Sequence[MeasuredModel]) -> list[str]:
    """What makes models less comparable than their table looks."""
    asked = {model.sampled.name: model.asked for model in models}
    notes = []
    if len({one.vocabulary for one in asked.values()}) > 1:
        notes.append(
            "the models have different tokenizers: problems and seeds are the same, but limits in tokens "
            "hold other amounts of text, and the luck of sampling is not shared"
        )
    if len({one.prompt for one in asked.values()}) > 1:
        told = ", ".join(f"{name} by {one.prompt}" for name, one in asked.items())
        notes.append(f"the models are asked through different templates: {told}")
    if any(one.cut for one in asked.values()):
        told = ", ".join(f"{one.cut} for {name}" for name, one in asked.items())
        notes.append(f"prompts over --max-prompt-tokens, of which a part was left out: {told}")
    return notes
