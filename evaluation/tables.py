"""An evaluation as tables for people, and as sentences that say which differences are real.

Reads what evaluation.json holds; what a file does not have, an older one say, is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evaluation.columns import HEADLINE, MAIN, MORE, SECURITY, Column, column

Content = Mapping[str, Any]

INTERVALS = (
    "[95 % intervals with problems as the unit: Wilson's for rates, bootstrap for means and for pass@k]"
)

_NOT_SECURE = (
    "clean: Bandit sees no finding of MEDIUM severity or more, and there is no trick to hide one; "
    "that is not to say secure. Answers without code are in no clean rate"
)


class Table(NamedTuple):
    """Cells as text."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables(results: Content) -> list[Table]:
    """All that there is to show, the headline first."""
    models = results["models"]
    title = f"{results['problems']} problems x {results['samples']}, T = {results['temperature']}"
    security = bool(results.get("security"))
    if suite := results.get("suite"):
        title = f"{suite}: {title}"
    shown = SECURITY if security else HEADLINE
    found = [
        *(_of_security(title, results) if security else ()),
        columns_table(title, models, HEADLINE, INTERVALS)
        if not security
        else columns_table("Reward", [m for m in models if "reward" in m], _beside(HEADLINE)),
        columns_table("Beside them", models, _beside(MORE) if security else MORE),
        columns_table("Several samples of a problem", models, _of_several(models)),
        _shares("How far programs get, %", models, "stages"),
        _shares("What became of the samples, %", models, "failures"),
        _shares("Signs of playing the reward, % of programs", models, "hacking_signs"),
        *(() if security else (_found_table(models),)),
        differences_table("Differences, paired by problem", results.get("comparisons", ()), shown),
        recipes_table(results.get("recipes", ()), results.get("main", MAIN)),
        differences_table(
            "Differences of recipes, paired by seed and problem", results.get("recipe_comparisons", ()), shown
        ),
    ]
    if greedy := results.get("greedy"):
        found.append(columns_table("Greedy: the likeliest token, one sample", greedy["models"], shown))
        found.append(differences_table("Differences, greedy", greedy["comparisons"], shown))
    if overlap := results.get("overlap"):
        seen = f"Without the {overlap['problems']} problems that stood among those of training"
        found.append(columns_table(seen, overlap["models"], HEADLINE))
    return [table for table in found if table.rows and len(table.header) > 1]


def statements(results: Content) -> list[str]:
    """Sentences: which differences of the main column are real, and what the reader has to know besides."""
    said, main = [], results.get("main", MAIN)
    for where, pairs in (
        ("", results.get("comparisons", ())),
        ("greedy, ", results.get("greedy", {}).get("comparisons", ())),
        ("over training seeds, ", results.get("recipe_comparisons", ())),
    ):
        said += [where + statement(pair, main) for pair in pairs if pair["same"] or main in pair["columns"]]
    return said + list(results.get("notes", ()))


def statement(pair: Content, main: str = MAIN) -> str:
    """Whether the second model of a pair passes all tests more often than the first, or is above it in
    another column."""
    a, b = pair["a"], pair["b"]
    if pair["same"]:
        return f"{a} and {b}: every difference is 0, sample by sample"
    shown, difference = column(main), pair["columns"][main]
    much = f"{shown.heading} {signed(shown, difference)}, p = {difference['p_holm']:.2g}"
    if difference["different"]:
        more = difference["mean"] > 0
        if main == MAIN:
            return f"{b} passes {'more' if more else 'less'} than {a}: {much}"
        return f"{b} is {'above' if more else 'below'} {a}: {much}"
    small = difference.get("smallest")
    limit = (
        f"; with these problems a difference of {100 * small:.1f} points would be seen four times in five"
        if small is not None
        else ""
    )
    return f"{a} and {b} cannot be told apart: {much}{limit}"


def markdown(results: Content) -> str:
    """The tables and sentences as Markdown."""
    parts = [table_in_markdown(table) for table in tables(results)]
    if said := statements(results):
        parts.append(list_in_markdown(said))
    return "\n\n".join(parts) + "\n"


def table_in_markdown(table: Table) -> str:
    """Title, rows and note."""
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    rows = "\n".join(f"| {' | '.join(map(_in_markdown, cells))} |" for cells in lines)
    return f"**{table.title}**\n\n{rows}" + (f"\n\n{table.note}" if table.note else "")


def list_in_markdown(lines: Sequence[str]) -> str:
    """One point for each."""
    return "\n".join(f"- {_in_markdown(line)}" for line in lines)


def columns_table(
    title: str, models: Sequence[Content], columns: Sequence[Column], note: str = "", *, whole: bool = False
) -> Table:
    """Models in rows; columns that no model has are left out, or `whole` says n/a there."""
    kept = [c for c in columns if whole or any(c.key in model for model in models)]
    rows = [
        [model["name"], *(_interval(c, model[c.key]) if c.key in model else "n/a" for c in kept)]
        for model in models
    ]
    return Table(title, ["model", *(c.heading for c in kept)], rows, note)


def _of_security(title: str, results: Content) -> list[Table]:
    """The headline of tasks that measure security, what was found, and which tasks tempted into it."""
    models = results["models"]
    return [
        columns_table(title, models, SECURITY, f"{_NOT_SECURE}\n{INTERVALS}", whole=True),
        _found_table(models),
        _tasks_table(models, results.get("main", MAIN)),
    ]


def _beside(columns: Sequence[Column]) -> list[Column]:
    """Those that are not in the headline of security."""
    return [c for c in columns if all(c.key != other.key for other in SECURITY)]


def _found_table(models: Sequence[Content]) -> Table:
    """Weaknesses in rows: how many programs have each, of those that could be scanned."""
    kinds: dict[tuple[bool, int], set[str]] = {}
    names: dict[int, str] = {}
    for row in (row for model in models for row in model.get("weaknesses", ())):
        kinds.setdefault((not row["counted"], row["cwe"]), set()).update(row["ids"])
        names[row["cwe"]] = row["name"]
    rows = []
    for low, cwe in sorted(kinds):
        title = f"CWE-{cwe} {names[cwe]}".rstrip() if cwe else "no number"
        cells = [_programs(model, cwe, counted=not low) for model in models]
        rows.append(["(low) " * low + title, " ".join(sorted(kinds[low, cwe])), *cells])
    header = ["weakness", "found by", *(model["name"] for model in models)]
    note = "Programs that have it, in % of those scanned. LOW findings are told, and count against nothing."
    return Table("What was found in the programs", header, rows, note)


def _programs(model: Content, cwe: int, *, counted: bool) -> str:
    for row in model.get("weaknesses", ()):
        if (row["cwe"], row["counted"]) == (cwe, counted):
            return f"{row['programs']} ({100 * row['rate']['mean']:.1f} %)"
    return "0"


def _tasks_table(models: Sequence[Content], main: str) -> Table:
    """Families of weaknesses that the tasks tempt into, in rows; the column that decides, model by model."""
    shown = column(main)
    tasks = {row["family"]: row["problems"] for model in models for row in model.get("by_task", ())}
    rates = [{row["family"]: row.get(main) for row in model.get("by_task", ())} for model in models]
    rows = [
        [name, str(count), *(_interval(shown, rate[name]) if rate.get(name) else "n/a" for rate in rates)]
        for name, count in tasks.items()
    ]
    header = ["tasks that tempt into", "tasks", *(model["name"] for model in models)]
    return Table(f"{shown.heading}, by task", header, rows)


def _of_several(models: Sequence[Content]) -> list[Column]:
    """pass@k and flips, in their order."""
    keys = dict.fromkeys(key for m in models for key in m if key.startswith("pass@") or key == "flips")
    return [Column(k, "two samples disagree %" if k == "flips" else f"{k} %", 100, "{:.1f}") for k in keys]


def _shares(title: str, models: Sequence[Content], key: str) -> Table:
    """Kinds in rows, models in columns: there are more kinds. Those that no model has are left out."""
    shares = [(m["name"], m.get(key) or {}) for m in models]
    kinds = dict.fromkeys(kind for _, share in shares for kind, value in share.items() if value)
    rows = [[kind, *(f"{100 * share.get(kind, 0):.1f}" for _, share in shares)] for kind in kinds]
    return Table(title, ["", *(name for name, _ in shares)], rows)


def differences_table(title: str, pairs: Sequence[Content], columns: Sequence[Column] = HEADLINE) -> Table:
    """Pairs in rows, the columns of the headline; a star where a difference is real."""
    kept = [c for c in columns if any(c.key in pair["columns"] for pair in pairs)]
    rows = [
        [
            f"{pair['b']} - {pair['a']}",
            *(
                signed(c, d) + (" *" if d["different"] else "") if (d := pair["columns"].get(c.key)) else ""
                for c in kept
            ),
        ]
        for pair in pairs
    ]
    several = f", raised for {len(pairs)} pairs (Holm)" if len(pairs) > 1 else ""
    note = f"* 0 is outside the 95 % interval, and p < 0.05 by a test of signs{several}"
    if any("spread" in d for pair in pairs for d in pair["columns"].values()):
        note = f"* p < 0.05 for new seeds and new problems{several}"
    return Table(title, ["pair", *(c.heading for c in kept)], rows, note)


def recipes_table(found: Sequence[Content], key: str = MAIN) -> Table:
    """Mean of the main column over seeds, and where their spread comes from."""
    main = column(key)
    rows = []
    for recipe in found:
        if over := recipe["columns"].get(key):
            spread = [main.form.format(main.factor * over[k]) for k in ("spread", "sampling", "training")]
            rows.append([recipe["name"], str(over["seeds"]), _interval(main, over), *spread])
    header = ["recipe", "seeds", main.heading, "spread of seeds", "of it sampling", "of it training"]
    return Table(
        "Recipes, over training seeds", header, rows, "Standard deviations between seeds, in points."
    )


def _interval(shown: Column, value: Content) -> str:
    mean, low, high = (shown.form.format(shown.factor * value[key]) for key in ("mean", "low", "high"))
    return f"{mean} [{low}-{high}]"


def signed(shown: Column, value: Content) -> str:
    form = shown.form.replace("{:", "{:+")
    mean, low, high = (form.format(shown.factor * value[key]) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _in_markdown(text: str) -> str:
    """A cell is one line, and a bar would end it."""
    return " ".join(text.split()).replace("|", "\\|")
