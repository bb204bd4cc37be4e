"""From the numbers of samples to what evaluation.json says of models, of pairs of them, and of recipes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from evaluation.columns import COMPARED, HEADLINE, MAIN, MORE, is_rate
from evaluation.facts import (
    BLANK,
    OTHER_CRASH,
    PARTIAL,
    PASSED,
    SILENT,
    TRUNCATED,
    UNPARSABLE,
    UNTESTED,
    WRONG,
)
from evaluation.intervals import Interval, bootstrap_interval, interval, problem_means
from evaluation.paired import holm, is_different, paired_difference
from evaluation.passes import flip_rate, ks, pass_at_k
from evaluation.seeds import recipe

# Then exceptions and limits, what does not parse last.
_ORDER = (PASSED, PARTIAL, WRONG, SILENT, UNTESTED, BLANK, OTHER_CRASH)
_LAST = (UNPARSABLE, TRUNCATED)
_NO_SIGNS = ("any", "withheld")  # the first is a column, the second the objective's answer


@dataclass(frozen=True)
class Numbers:
    """One model's samples of the problems, problem by problem."""

    name: str
    columns: Mapping[str, np.ndarray]
    """Name -> (problems, samples), NaN where there is no value; stages as stage/..., signs as hack/..."""
    failures: np.ndarray
    """(problems, samples) of str, what became of each (see facts.py); "" where it could not be scored."""
    found: np.ndarray | None = None
    """(problems, samples) of what the analyser found in each (see weaknesses.py); None: not known."""

    def chosen(self, problems: np.ndarray) -> "Numbers":
        """Some of the problems, by a mask (problems,)."""
        columns = {key: values[problems] for key, values in self.columns.items()}
        found = None if self.found is None else self.found[problems]
        return Numbers(self.name, columns, self.failures[problems], found)


def model_summary(numbers: Numbers, seed: int) -> dict[str, Any]:
    """Intervals of every column that has a value, pass@k, flips; shares of stages, failures and signs."""
    columns = numbers.columns
    shares = {
        prefix: {
            key.partition("/")[2]: float(np.nanmean(values))
            for key, values in columns.items()
            if key.startswith(prefix) and not np.isnan(values).all()
        }
        for prefix in ("stage/", "hack/")
    }
    return {
        **_intervals(columns, [column.key for column in (*HEADLINE, *MORE)], seed),
        **_of_several(columns[MAIN], seed),
        "stages": shares["stage/"],
        "hacking_signs": {k: share for k, share in shares["hack/"].items() if k not in _NO_SIGNS},
        "failures": _failures(numbers.failures),
        "faults": int((numbers.failures == "").sum()),
    }


def comparisons(models: Sequence[Numbers], seed: int) -> list[dict[str, Any]]:
    """Every pair of models, the later minus the earlier, column by column, paired by problem.

    `same`: every sample of one has the numbers of its fellow. p_holm: p, raised for the number of pairs.
    """
    found: list[dict[str, Any]] = []
    for a, b in combinations(models, 2):
        columns = {
            key: paired_difference(a.columns[key], b.columns[key], seed)
            for key in COMPARED
            if _paired(a.columns, b.columns, key)
        }
        found.append({"a": a.name, "b": b.name, "same": _is_same(a, b), "columns": columns})
    decide(found)
    return found


def recipes(groups: Mapping[str, Sequence[Numbers]]) -> list[dict[str, Any]]:
    """Recipe by recipe, each trained with several seeds: means for new seeds and new problems."""
    return [
        {"name": name, "columns": _over_seeds([n.columns for n in group])} for name, group in groups.items()
    ]


def recipe_comparisons(groups: Mapping[str, Sequence[Numbers]]) -> list[dict[str, Any]]:
    """Every pair of recipes, problem by problem, the n-th seed of one beside the n-th of the other."""
    found: list[dict[str, Any]] = []
    for (a, first), (b, second) in combinations(groups.items(), 2):
        gaps = [
            {key: _gaps(x.columns[key], y.columns[key]) for key in COMPARED if key in x.columns}
            for x, y in zip(first, second, strict=True)
        ]
        same = all(_is_same(x, y) for x, y in zip(first, second, strict=True))
        found.append({"a": a, "b": b, "same": same, "columns": _over_seeds(gaps)})
    decide(found)
    return found


def without(models: Sequence[Numbers], overlap: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """The headline of each model on the problems that are not in `overlap`, (problems,) bool."""
    keys = [column.key for column in HEADLINE]
    return [{"name": m.name, **_intervals(m.chosen(~overlap).columns, keys, seed)} for m in models]


def _intervals(columns: Mapping[str, np.ndarray], keys: Sequence[str], seed: int) -> dict[str, Interval]:
    return {
        key: interval(columns[key], seed, rate=is_rate(key))
        for key in keys
        if key in columns and not np.isnan(columns[key]).all()
    }


def _of_several(passed: np.ndarray, seed: int) -> dict[str, Interval]:
    """pass@k and flips, where a problem has several samples; of problems of which all could be scored."""
    whole = passed[~np.isnan(passed).any(axis=1)]
    problems, samples = whole.shape
    if samples < 2 or problems == 0:
        return {}
    counts = whole.sum(axis=1).astype(int), np.full(problems, samples)
    found = {f"pass@{k}": bootstrap_interval(pass_at_k(*counts, k)[:, None], seed) for k in ks(samples)}
    return found | {"flips": bootstrap_interval(flip_rate(whole)[:, None], seed)}


def _failures(failures: np.ndarray) -> dict[str, float]:
    """Share of each kind among the samples that were scored."""
    counts = Counter(failures[failures != ""].tolist())
    between = sorted(counts.keys() - {*_ORDER, *_LAST})
    order = (*_ORDER, *between, *_LAST)
    return {kind: counts[kind] / counts.total() for kind in order if counts[kind]}


def _paired(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], key: str) -> bool:
    """Whether some problem has a value of this column on both sides."""
    return key in a and key in b and not np.isnan(_gaps(a[key], b[key])).all()


def _gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """b - a in problem means, (problems, 1)."""
    return (problem_means(b) - problem_means(a))[:, None]


def _is_same(a: Numbers, b: Numbers) -> bool:
    return a.columns.keys() == b.columns.keys() and all(
        np.array_equal(values, b.columns[key], equal_nan=True) for key, values in a.columns.items()
    )


def _over_seeds(tables: Sequence[Mapping[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Column -> what `recipe` says of it; columns without two problems that have a value under every seed
    are left out."""
    found = {}
    for key in COMPARED:
        if all(key in table for table in tables):
            values = np.stack([table[key] for table in tables])  # (seeds, problems, samples)
            everywhere = (~np.isnan(values)).any(axis=2).all(axis=0)
            if everywhere.sum() > 1:
                found[key] = recipe(values)
    return found


def decide(found: Sequence[dict[str, Any]]) -> None:
    """Add p_holm over the pairs of each column, and whether the two are different: once for all that a study
    compares."""
    for key in COMPARED:
        pairs = [pair["columns"][key] for pair in found if key in pair["columns"]]
        for difference, p in zip(pairs, holm([d["p"] for d in pairs]), strict=True):
            difference["p_holm"] = p
            difference["different"] = is_different(difference)
