"""The sample browser: which samples are in the page, and the shell that the page's script fills.

All samples of the chosen iterations are there: of a run as many iterations, evenly spaced, as fit, of an
evaluation all samples of as many problems. The page says how many are left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from report.curves import OTHER_COLOURS, STAGE_COLOURS
from report.markup import text
from report.read import Evaluation, Run
from report.records import Pool, pack, sample_record, token_record
from report.rows import Row
from report.sample_files import SampleIndex, choose_iterations, choose_problems

SAMPLES = 10_000
"""In one page, at most."""
PACKED_BYTES = 13_000_000
"""Of the packed samples: the page stays below 15 MB. Where texts are so long that it would not, fewer samples
are kept."""

Chosen = Mapping[Any, Sequence[int]]


def samples_section(runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> str:
    """The browser of all runs and evaluated models, or nothing where there are no samples."""
    available = _available(runs, evaluations)
    if not available:
        return ""
    limit = min(available, SAMPLES)
    content, packed = _packed(runs, evaluations, limit)
    while len(packed) > PACKED_BYTES:
        limit = int(limit * 0.9 * PACKED_BYTES / len(packed))
        content, packed = _packed(runs, evaluations, limit)
    shell = Template((Path(__file__).parent / "web/samples.html").read_text(encoding="utf-8"))
    return shell.substitute(note=text(_note(len(content["samples"]), available)), packed=packed)


def _available(runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> int:
    return sum(len(run.samples) for run in runs) + sum(len(part.samples) for part in evaluations)


def _packed(runs: Sequence[Run], evaluations: Sequence[Evaluation], limit: int) -> tuple[dict[str, Any], str]:
    content = browser_content(runs, evaluations, limit)
    return content, pack(content)


def _note(kept: int, available: int) -> str:
    if kept == available:
        return f"All {kept:,} samples."
    return (
        f"{kept:,} of {available:,} samples: whole iterations of a run and whole problems of an evaluation, "
        "evenly spaced. The others are in samples.jsonl and evaluation_samples.jsonl."
    )


def browser_content(
    runs: Sequence[Run], evaluations: Sequence[Evaluation], limit: int = SAMPLES
) -> dict[str, Any]:
    """What the script unpacks: `samples`, `texts` by number, `sources` (runs and models), `colours` of the
    stages, `tokens` by place among the samples.

    Args:
        limit: of samples, shared by all parts in the ratio of what they have.
    """
    pool = Pool()
    sources: list[dict[str, str]] = []
    samples: list[dict[str, Any]] = []
    tokens: dict[int, Any] = {}
    available = _available(runs, evaluations)

    def share(index: SampleIndex) -> int:
        return max(1, len(index) * limit // max(1, available))

    for run in runs:
        source = len(sources)
        sources.append({"name": run.name, "kind": "run"})
        chosen = choose_iterations(run.samples, share(run.samples), run.best)
        places: dict[tuple[int, int], int] = {}
        for iteration, number, row in run.samples.read(chosen):
            places[iteration, number] = len(samples)
            samples.append(sample_record(row, source, iteration, pool))
        tokens |= _tokens(run, places)
    for evaluation in evaluations:
        chosen_samples = choose_problems(evaluation.samples, share(evaluation.samples))
        numbers: dict[str, int] = {}
        for model, _, row in evaluation.samples.read(chosen_samples):
            if model not in numbers:
                numbers[model] = len(sources)
                sources.append({"name": model, "kind": "model"})
            samples.append(sample_record(row, numbers[model], None, pool))
    return {
        "samples": samples,
        "texts": pool.texts,
        "sources": sources,
        "colours": _colours(samples),
        "tokens": tokens,
    }


def _tokens(run: Run, places: Mapping[tuple[int, int], int]) -> dict[int, Any]:
    """What tokens.jsonl has of the samples that are in the page, by their place."""
    chosen: Chosen = {i: range(len(run.tokens.places[i])) for i, _ in places if i in run.tokens.places}
    found = {}
    for iteration, _, row in run.tokens.read(chosen):
        place, record = places.get((iteration, row.get("sample", -1))), token_record(row)
        if place is not None and record is not None:
            found[place] = record
    return found


def _colours(samples: Sequence[Row]) -> dict[str, str]:
    """Stage -> colour, in the ladder's order; what a reward function names comes after."""
    seen = {sample["stage"] for sample in samples}
    order = [stage for stage in STAGE_COLOURS if stage in seen]
    others = sorted(seen - set(STAGE_COLOURS))
    named = {stage: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, stage in enumerate(others)}
    return {stage: STAGE_COLOURS[stage] for stage in order} | named
