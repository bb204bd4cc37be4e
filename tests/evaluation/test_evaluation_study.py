"""What a study says of its recipes: over these models, and for new training seeds."""

import numpy as np
import pytest

from evaluation.columns import HEADLINE, MORE
from evaluation.study import conclusions, study_markdown, study_results, study_tables, together
from evaluation.summary import Numbers

PROBLEMS, SAMPLES = 200, 2


def model(name: str, skill: float, seed: int) -> Numbers:
    """Solves each problem with its own chance, on average `skill`; the same problems for all."""
    ease = np.random.default_rng(0).normal(0, 0.15, size=(PROBLEMS, 1))
    drawn = np.random.default_rng(seed).random((PROBLEMS, SAMPLES))
    passed = (drawn < np.clip(skill + ease, 0, 1)).astype(float)
    columns = {c.key: passed for c in (*HEADLINE, *MORE)} | {"stage/passes": passed, "hack/any": passed}
    return Numbers(name, columns, np.where(passed == 1, "passed", "wrong output"))


def study(**skills: list[float]) -> dict:
    """A study of recipes, each with the skill that every one of its seeds came to."""
    groups = {
        name: {seed: model(name, skill, 1000 * seed + number) for seed, skill in enumerate(by_seed, 1)}
        for number, (name, by_seed) in enumerate(skills.items())
    }
    first, *others = skills
    return {
        "problems": PROBLEMS,
        "samples": SAMPLES,
        "temperature": 0.7,
        "programs": {name: 1000 * number for number, name in enumerate(skills)},
        **study_results(groups, [(first, other) for other in others], seed=1),
    }


def test_a_gain_of_every_seed_would_last():
    said = conclusions(study(SFT=[0.3, 0.3, 0.3], PPO=[0.5, 0.51, 0.49]))
    assert said[0].startswith("PPO passes more than SFT: All-P % +")
    assert "It would hold for new training seeds (+" in said[0]


def test_a_gain_that_hangs_on_the_seed_is_of_these_models_only():
    """In sum there is a gain that no luck of sampling explains; another three seeds could lack it."""
    said = conclusions(study(SFT=[0.3, 0.3, 0.3], PPO=[0.8, 0.32, 0.28]))
    assert said[0].startswith("PPO passes more than SFT")
    assert "That is of these models: new training seeds could undo it (" in said[0]


def test_what_is_alike_cannot_be_told_apart_and_it_says_what_could():
    results = study(SFT=[0.4, 0.4], PPO=[0.4, 0.4])
    (said,) = conclusions(results)
    assert said.startswith("SFT and PPO cannot be told apart") and "would be seen four times in five" in said
    assert "Nor do the seeds tell (" in said


def test_a_recipe_with_itself():
    """Sample by sample the same: nothing to estimate."""
    groups = {name: {1: model(name, 0.4, 7), 2: model(name, 0.4, 8)} for name in ("a", "b")}
    results = study_results(groups, [("a", "b")], seed=1)
    assert conclusions(results) == ["a and b: every difference is 0, sample by sample"]


def test_other_columns_that_differ_are_named():
    """A model that is as good, with longer programs; then one that is better in every column."""
    results = study(SFT=[0.4, 0.4], PPO=[0.4, 0.4])
    assert conclusions(results)[0].endswith(". No other column differs")
    (pair,) = results["comparisons"]
    longer = {"mean": 3.0, "low": 1.0, "high": 5.0, "different": True}
    results["comparisons"] = [pair | {"columns": pair["columns"] | {"length": longer}}]
    assert conclusions(results)[0].endswith(". Other columns that differ: length +3.0 [+1.0, +5.0]")
    said = conclusions(study(SFT=[0.3], PPO=[0.6]))[0]
    assert "Other columns that differ: Syn. % +" in said and said.count("All-P % ") == 1


def test_one_seed_says_nothing_of_new_ones():
    results = study(SFT=[0.3], PPO=[0.6])
    assert results["recipes"] == results["recipe_comparisons"] == []
    (said,) = conclusions(results)
    assert "seeds" not in said
    assert "Recipes, over training seeds" not in study_markdown(results)


def test_pairs_are_compared_by_the_seeds_that_both_have():
    """A run of the third seed failed: of that pair it is left out, of its model's own numbers it is not."""
    groups = {
        "SFT": {seed: model("SFT", 0.3, seed) for seed in (1, 2, 3)},
        "PPO": {seed: model("PPO", 0.3 + 0.1 * seed, 10 + seed) for seed in (1, 2)},
        "late": {3: model("late", 0.5, 20)},
    }
    results = study_results(groups, [("SFT", "PPO"), ("PPO", "late"), ("SFT", "late")], seed=1)
    assert [list(model["by_seed"]) for model in results["models"]] == [["1", "2", "3"], ["1", "2"], ["3"]]
    assert [(pair["a"], pair["b"]) for pair in results["comparisons"]] == [("SFT", "PPO"), ("SFT", "late")]
    assert [recipe["name"] for recipe in results["recipes"]] == ["SFT", "PPO"]
    with_two = {name: {seed: groups[name][seed] for seed in (1, 2)} for name in ("SFT", "PPO")}
    alone = study_results(with_two, [("SFT", "PPO")], seed=1)
    for key in ("comparisons", "recipe_comparisons"):
        seen, expected = (found[key][0]["columns"]["all_pass"] for found in (results, alone))
        assert seen["mean"] == expected["mean"] and seen["p"] == expected["p"]


def test_every_p_is_raised_for_the_number_of_pairs():
    """Holm's rule over all pairs of the study: of three, the smallest p is tripled."""
    results = study(SFT=[0.4, 0.4], a=[0.45, 0.45], b=[0.41, 0.41], c=[0.4, 0.39])
    for key in ("comparisons", "recipe_comparisons"):
        found = [pair["columns"]["all_pass"] for pair in results[key]]
        least = min(found, key=lambda d: d["p"])
        assert least["p_holm"] == pytest.approx(min(1.0, 3 * least["p"]))
        assert all(d["p_holm"] >= d["p"] for d in found)


def test_seeds_together_are_samples_of_the_same_problems():
    seeds = [model("", 0.3, 1), model("", 0.7, 2)]
    one = together("PPO", seeds)
    assert one.columns["all_pass"].shape == one.failures.shape == (PROBLEMS, 2 * SAMPLES)
    assert one.columns["all_pass"][:, :SAMPLES] == pytest.approx(seeds[0].columns["all_pass"])


def test_tables_have_a_row_for_each_recipe_and_pair():
    results = study(SFT=[0.3, 0.3], PPO=[0.5, 0.6])
    assert [[row[0] for row in table.rows] for table in study_tables(results)] == [
        ["SFT", "PPO"],
        ["SFT", "PPO"],
        ["PPO - SFT"],
        ["SFT", "PPO"],
        ["SFT", "PPO"],
        ["PPO - SFT"],
    ]
    headline = study_tables(results)[0]
    assert headline.header[:3] == ["model", "programs", "Syn. %"] and headline.rows[1][1] == "1,000"
    assert not {key for key in results["models"][0] if key.startswith(("pass@", "flips"))}
