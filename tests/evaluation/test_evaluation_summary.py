"""What evaluation.json says, and what its tables and sentences make of it."""

import json

import numpy as np
import pytest

from evaluation.columns import COMPARED, HEADLINE, MORE, is_rate
from evaluation.summary import (
    Numbers,
    comparisons,
    model_summary,
    recipe_comparisons,
    recipes,
    without,
)
from evaluation.tables import markdown, statement, statements, tables

PROBLEMS, SAMPLES = 120, 3


def numbers(name: str, skill: float, seed: int) -> Numbers:
    """A model that solves each problem with its own chance, on average `skill`."""
    rng = np.random.default_rng(seed)
    chance = np.random.default_rng(0).beta(2 * skill, 2 - 2 * skill, size=(PROBLEMS, 1))
    passed = (rng.random((PROBLEMS, SAMPLES)) < chance).astype(float)
    rates = [c.key for c in (*HEADLINE, *MORE) if is_rate(c.key)]
    means = [c.key for c in (*HEADLINE, *MORE) if not is_rate(c.key)]
    columns = dict.fromkeys(rates, passed) | {key: 0.4 + 0.6 * passed for key in means}
    columns["clean"] = np.where(rng.random(passed.shape) < 0.2, np.nan, 1.0)
    columns["hidden_pass"] = np.full(passed.shape, np.nan)
    columns |= {"stage/prints": 1 - passed, "stage/passes": passed, "hack/silent": 1 - passed}
    failures = np.where(passed == 1, "passed", "wrong output").astype(object)
    failures[0, 0], failures[0, 1] = "KeyError", ""
    return Numbers(name, columns, failures)


@pytest.fixture(scope="module")
def models() -> list[Numbers]:
    return [numbers("weak", 0.3, 1), numbers("strong", 0.6, 2), numbers("alike", 0.6, 3)]


@pytest.fixture(scope="module")
def results(models) -> dict:
    groups = {"weak": [numbers("", 0.3, s) for s in (1, 2)], "strong": [numbers("", 0.6, s) for s in (3, 4)]}
    seen = np.arange(PROBLEMS) < 20
    return {
        "problems": PROBLEMS,
        "samples": SAMPLES,
        "temperature": 0.7,
        "models": [{"name": m.name} | model_summary(m, 1) for m in models],
        "comparisons": comparisons([*models, models[0]], 1),
        "recipes": recipes(groups),
        "recipe_comparisons": recipe_comparisons(groups),
        "greedy": {"models": [{"name": "weak"} | model_summary(models[0], 1)], "comparisons": []},
        "overlap": {"problems": 20, "sources": ["x"], "models": without(models, seen, 1)},
        "notes": ["a note"],
    }


def test_it_is_plain_json_without_a_nan(results):
    json.dumps(results, allow_nan=False)


def test_a_column_without_a_value_is_left_out(results):
    assert "hidden_pass" not in results["models"][0]
    assert {"clean", "pass@1", "pass@2", "pass@3", "flips", "syntax"} <= results["models"][0].keys()


def test_shares_add_up_over_what_was_scored(results):
    model = results["models"][0]
    assert sum(model["failures"].values()) == pytest.approx(1) and model["faults"] == 1
    assert list(model["failures"]) == ["passed", "wrong output", "KeyError"]
    assert model["stages"].keys() == {"prints", "passes"} and model["hacking_signs"].keys() == {"silent"}


def test_every_pair_is_compared_once_the_later_minus_the_earlier(results):
    pairs = [(pair["a"], pair["b"]) for pair in results["comparisons"]]
    assert pairs[:3] == [("weak", "strong"), ("weak", "alike"), ("weak", "weak")] and len(pairs) == 6
    means = {model["name"]: model["all_pass"]["mean"] for model in results["models"]}
    gap = results["comparisons"][0]["columns"]["all_pass"]
    assert gap["mean"] == pytest.approx(means["strong"] - means["weak"]) and gap["different"]


def test_a_model_beside_itself_is_the_same_in_every_column_and_says_so(results):
    pair = results["comparisons"][2]
    assert pair["same"] and statement(pair) == "weak and weak: every difference is 0, sample by sample"
    assert set(pair["columns"]) == set(COMPARED)
    for difference in pair["columns"].values():
        assert (difference["mean"], difference["low"], difference["high"]) == (0, 0, 0)
        assert difference["p_holm"] == 1 and not difference["different"]


def test_what_cannot_be_told_apart_says_what_could_have_been(results):
    pair = next(p for p in results["comparisons"] if (p["a"], p["b"]) == ("strong", "alike"))
    assert "cannot be told apart" in statement(pair) and "points would be seen" in statement(pair)
    assert not pair["same"]


def test_several_pairs_make_each_p_larger(results, models):
    alone = comparisons(models[:2], 1)[0]["columns"]["all_pass"]
    among = results["comparisons"][0]["columns"]["all_pass"]
    assert alone["p_holm"] == alone["p"] == among["p"] and among["p_holm"] > among["p"]


def test_recipes_are_compared_seed_by_seed(results):
    (pair,) = results["recipe_comparisons"]
    gap = pair["columns"]["all_pass"]
    assert (pair["a"], pair["b"]) == ("weak", "strong") and gap["seeds"] == 2
    weak, strong = (recipe["columns"]["all_pass"]["mean"] for recipe in results["recipes"])
    assert gap["mean"] == pytest.approx(strong - weak)


def test_scores_without_the_overlap_are_those_of_the_others(results, models):
    kept = models[0].columns["all_pass"][20:]
    assert results["overlap"]["models"][0]["all_pass"]["mean"] == pytest.approx(kept.mean())


def test_tables_and_sentences_hold_what_there_is(results):
    titles = [table.title for table in tables(results)]
    assert titles[0] == "120 problems x 3, T = 0.7" and len(titles) == 11
    for table in tables(results):
        assert all(len(row) == len(table.header) for row in table.rows), table.title
    said = statements(results)
    assert said[-1] == "a note"
    assert any(line.startswith("over training seeds, strong passes more than weak") for line in said)


def test_what_an_older_file_lacks_is_left_out():
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    old = {"problems": 2, "samples": 1, "temperature": 0, "models": [{"name": "x", "syntax": interval}]}
    (table,) = tables(old)
    assert table.header == ["model", "Syn. %"] and table.rows == [["x", "50.0 [40.0-60.0]"]]
    assert statements(old) == []


def test_names_cannot_break_a_markdown_table(results):
    named = results | {"models": [results["models"][0] | {"name": "a|b\n| c"}]}
    rows = [line for line in markdown(named).splitlines() if line.startswith("| a")]
    assert rows and all(row.replace("\\|", "").count("|") == row.count(" | ") + 2 for row in rows)
