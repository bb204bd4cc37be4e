"""Recipes over training seeds: the numbers of an evaluation for each, and what can be said of their pairs.

Two questions are kept apart. Do *these* models differ? Then problems are the unit, and the seeds of a recipe
give so many samples of each problem. Would the recipes differ under *new* seeds? Then seeds are drawn too
(seeds.py), and three of them that scatter leave much open.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.columns import HEADLINE, MAIN, MORE, column
from evaluation.summary import Numbers, comparisons, decide, model_summary, recipe_comparisons, recipes
from evaluation.tables import (
    INTERVALS,
    Table,
    columns_table,
    differences_table,
    list_in_markdown,
    recipes_table,
    signed,
    statement,
    table_in_markdown,
)

Content = Mapping[str, Any]
Groups = Mapping[str, Mapping[int, Numbers]]
"""Recipe -> training seed -> its numbers, on the same problems everywhere."""

_OF_ONE_MODEL = ("pass@", "flips")  # what samples of several models do not tell together


def study_results(groups: Groups, pairs: Sequence[tuple[str, str]], seed: int) -> dict[str, Any]:
    """What is told of recipes, under the keys of an evaluation.json.

    Args:
        pairs: recipes to compare, the second minus the first, by the seeds that both have.
        seed: of the bootstrap.

    Returns:
        models: each recipe, its seeds taken together, with the mean of the main column seed by seed in
        `by_seed`. comparisons: of these models. recipes, recipe_comparisons: for new seeds, where there are
        two seeds or more. Every p_holm is raised for all pairs.
    """
    models, these, new = [], [], []
    for name, of in groups.items():
        summary = model_summary(together(name, of.values()), seed)
        kept = {key: value for key, value in summary.items() if not key.startswith(_OF_ONE_MODEL)}
        by_seed = {str(number): float(np.nanmean(of[number].columns[MAIN])) for number in of}
        models.append({"name": name, "by_seed": by_seed, **kept})
    for pair in pairs:
        common = sorted(groups[pair[0]].keys() & groups[pair[1]].keys())
        both = {name: [groups[name][number] for number in common] for name in pair}
        if common:
            these += comparisons([together(name, of) for name, of in both.items()], seed)
        if len(common) > 1:
            new += recipe_comparisons(both)
    decide(these)
    decide(new)
    several = {name: list(of.values()) for name, of in groups.items() if len(of) > 1}
    return {
        "models": models,
        "comparisons": these,
        "recipes": recipes(several),
        "recipe_comparisons": new,
    }


def together(name: str, seeds: Iterable[Numbers]) -> Numbers:
    """The samples of several models of one recipe as those of one, problem by problem."""
    found = list(seeds)
    columns = {key: np.concatenate([one.columns[key] for one in found], axis=1) for key in found[0].columns}
    return Numbers(name, columns, np.concatenate([one.failures for one in found], axis=1))


def conclusions(results: Content) -> list[str]:
    """What can be said of each pair: whether these models differ in the main column, whether it would last,
    and in which other columns they differ."""
    new = {(pair["a"], pair["b"]): pair["columns"].get(MAIN) for pair in results["recipe_comparisons"]}
    said = []
    for pair in results["comparisons"]:
        lasting = new.get((pair["a"], pair["b"]))
        parts = [statement(pair)]
        if not pair["same"]:
            parts += [_over_seeds(pair["columns"][MAIN], lasting)] if lasting else []
            parts += [_besides(pair)]
        said.append(". ".join(parts))
    return said


def _over_seeds(these: Content, lasting: Content) -> str:
    """`these`, `lasting`: the difference of these models, and the one for new seeds, in the main column."""
    interval = f"{signed(column(MAIN), lasting)}, p = {lasting['p_holm']:.2g}"
    if lasting["different"]:
        agree = these["different"] and (these["mean"] > 0) == (lasting["mean"] > 0)
        what = "It would hold for new training seeds" if agree else "Over new training seeds they differ"
    elif these["different"]:
        what = "That is of these models: new training seeds could undo it"
    else:
        what = "Nor do the seeds tell"
    return f"{what} ({interval})"


def _besides(pair: Content) -> str:
    differ = [
        f"{c.heading} {signed(c, difference)}"
        for c in (*HEADLINE, *MORE)
        if c.key != MAIN and (difference := pair["columns"].get(c.key)) and difference["different"]
    ]
    return f"Other columns that differ: {'; '.join(differ)}" if differ else "No other column differs"


def study_tables(results: Content) -> list[Table]:
    """The paper's columns and those beside them, their differences, and what the training seed does.

    `results`: those of `study_results`, with `problems`, `samples`, `temperature`, and for each model
    the `programs` that it was trained on.
    """
    title = f"{results['problems']} problems x {results['samples']}, T = {results['temperature']}"
    found = [
        _with_budget(columns_table(title, results["models"], HEADLINE, INTERVALS), results["programs"]),
        columns_table("Beside them", results["models"], MORE),
        differences_table("Differences of these models, paired by problem", results["comparisons"]),
        _seeds_table(results["models"]),
        recipes_table(results["recipes"]),
        differences_table(
            "Differences for new training seeds, paired by seed and problem", results["recipe_comparisons"]
        ),
    ]
    return [table for table in found if table.rows and len(table.header) > 1]


def study_markdown(results: Content) -> str:
    """What was found, ready to be pasted: sentences, then tables."""
    parts = [list_in_markdown(conclusions(results))] if results["comparisons"] else []
    parts += [table_in_markdown(table) for table in study_tables(results)]
    if results.get("notes"):
        parts.append(list_in_markdown(results["notes"]))
    return "\n\n".join(parts) + "\n"


def _with_budget(table: Table, programs: Mapping[str, int]) -> Table:
    """A column more: how many programs a model was trained on, from SFT to its end."""
    rows = [[row[0], f"{programs[row[0]]:,}", *row[1:]] for row in table.rows]
    return table._replace(header=[table.header[0], "programs", *table.header[1:]], rows=rows)


def _seeds_table(models: Sequence[Content]) -> Table:
    """The main column seed by seed."""
    shown = column(MAIN)
    seeds = list(dict.fromkeys(seed for model in models for seed in model["by_seed"]))
    rows = [
        [
            model["name"],
            *(
                shown.form.format(shown.factor * model["by_seed"][seed]) if seed in model["by_seed"] else ""
                for seed in seeds
            ),
        ]
        for model in models
    ]
    return Table(f"{shown.heading} by training seed", ["model", *seeds], rows)
