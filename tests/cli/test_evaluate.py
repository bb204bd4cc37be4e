"""`evaluate.py`: pairs, recipes, greedy answers, overlap, and models that are asked in other ways."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import CORPUS, SMALL, command
from tokenizers import Tokenizer

from data import Problem, TestCase, load_problems, write_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split

FEW = ["--num-problems", 4, "--max-new-tokens", 8, *SMALL, *CORPUS]


def evaluate(*arguments: object) -> int:
    return command("evaluate", *arguments)


@pytest.fixture(scope="module")
def measured(sft_run, ppo_run, tmp_path_factory) -> tuple[dict, list[dict], str]:
    """Two recipes of two "seeds" each, one of them the same checkpoint twice: JSON, samples, Markdown."""
    out = tmp_path_factory.mktemp("evaluation") / "x.json"
    seeds = [sft_run, sft_run, ppo_run, ppo_run / "checkpoints" / "iteration-000002"]
    asked = ["--seeds", 2, "--names", "SFT", "PPO", "--greedy", "--samples", 2, *FEW]
    assert evaluate(*seeds, *asked, "--out", out) == 0
    samples = [json.loads(line) for line in (out.parent / "x_evaluation_samples.jsonl").open()]
    return json.loads(out.read_text()), samples, (out.parent / "x.md").read_text()


def test_recipes_are_named_once_and_their_checkpoints_by_number(measured):
    results, _, _ = measured
    assert [m["name"] for m in results["models"]] == ["SFT (1)", "SFT (2)", "PPO (1)", "PPO (2)"]
    assert [recipe["name"] for recipe in results["recipes"]] == ["SFT", "PPO"]
    (pair,) = results["recipe_comparisons"]
    assert (pair["a"], pair["b"]) == ("SFT", "PPO") and "comparisons" not in results
    assert results["recipes"][0]["columns"]["syntax"]["spread"] == 0


def test_greedy_answers_have_numbers_and_samples_of_their_own(measured):
    results, samples, _ = measured
    assert [m["name"] for m in results["greedy"]["models"]] == [m["name"] for m in results["models"]]
    greedy = [row for row in samples if row.get("greedy")]
    assert len(greedy) == 4 * 4 and len(samples) - len(greedy) == 4 * 4 * 2
    first, again = (
        [row["response"] for row in greedy if row["model"] == name] for name in ("SFT (1)", "SFT (2)")
    )
    assert first == again


def test_the_embedded_splits_do_not_overlap_with_training(measured):
    results, _, _ = measured
    assert results["overlap"] == {"problems": 0, "sources": ["tiny/sft", "tiny/rl"], "models": []}


def test_markdown_has_the_tables_of_the_json(measured):
    _, _, text = measured
    for title in ("4 problems x 2, T = 0.7", "Recipes, over training seeds", "Greedy: the likeliest token"):
        assert f"**{title}" in text
    assert "| PPO (2) |" in text and "| PPO - SFT |" in text


def test_a_checkpoint_beside_itself_differs_by_nothing_and_says_so(sft_run, tmp_path, capsys):
    out = tmp_path / "e.json"
    assert evaluate(sft_run, sft_run, *FEW, "--names", "a", "b", "--out", out) == 0
    (pair,) = json.loads(out.read_text())["comparisons"]
    assert pair["same"] and {d["mean"] for d in pair["columns"].values()} == {0.0}
    assert "a and b: every difference is 0, sample by sample" in capsys.readouterr().out


def test_problems_that_stood_in_training_are_counted_and_left_out(sft_run, tmp_path, capsys):
    corpus = TinyCorpusConfig(sft=200, rl=40, validation=12, heldout=12)
    trained, heldout = tiny_split("sft", corpus)[:2], tiny_split("heldout", corpus)[:3]
    theirs = [Problem("mine", heldout[0].prompt.upper() + "\n", (TestCase("", "1"),))]
    write_problems(tmp_path / "mine.jsonl", theirs)
    write_problems(tmp_path / "asked.jsonl", [*heldout, *trained])
    out = tmp_path / "e.json"
    flags = ["--problems", tmp_path / "asked.jsonl", "--trained-on", tmp_path / "mine.jsonl", "--out", out]
    assert evaluate(sft_run, *flags, "--max-new-tokens", 8, *SMALL, *CORPUS) == 0
    results = json.loads(out.read_text())
    assert results["problems"] == 5 and results["overlap"]["problems"] == 3
    assert "all_pass" in results["overlap"]["models"][0]
    assert "Without the 3 problems" in capsys.readouterr().out


def test_training_problems_that_are_gone_are_told(sft_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(sft_run, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("problems: tiny/sft", "problems: /gone.jsonl"))
    assert evaluate(run, *FEW) == 0
    assert "overlap with /gone.jsonl, which a model was trained on, is unknown" in capsys.readouterr().out
    assert evaluate(sft_run, *FEW, "--trained-on", tmp_path / "none.jsonl") == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_public_and_hidden_tests_are_told_apart(sft_run, tmp_path):
    problems = tiny_split("heldout", TinyCorpusConfig(sft=200, rl=40, validation=12, heldout=12))[:3]
    shown = []
    for problem in problems:
        first, *others = problem.tests
        shown.append(Problem(problem.id, problem.prompt, (replace(first, public=True), *others)))
    write_problems(tmp_path / "p.jsonl", shown)
    assert [t.public for t in load_problems(tmp_path / "p.jsonl")[0].tests][:2] == [True, False]
    out = tmp_path / "evaluation.json"
    flags = ["--problems", tmp_path / "p.jsonl", "--max-new-tokens", 8, *SMALL, "--out", out]
    assert evaluate(sft_run, *flags) == 0
    model = json.loads(out.read_text())["models"][0]
    assert {"public_pass", "hidden_pass", "public_only"} <= model.keys()
    row = json.loads((tmp_path / "evaluation_samples.jsonl").open().readline())
    assert row["public"] == [0]


def retokenised(run: Path, out: Path) -> Path:
    """A copy of a model whose vocabulary has two tokens the other way round."""
    shutil.copytree(run / "model", out)
    file = out / "tokenizer.json"
    content = json.loads(Tokenizer.from_file(str(file)).to_str())
    vocabulary = content["model"]["vocab"]
    a, b = list(vocabulary)[40:42]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    file.write_text(json.dumps(content))
    return out


def test_models_with_other_tokenizers_or_words_are_compared_and_the_reader_told(sft_run, tmp_path, capsys):
    other = retokenised(sft_run, tmp_path / "other")
    (other / "prompt.json").unlink()
    (other / "chat_template.jinja").write_text("{{ messages[0].content }}\n")
    assert evaluate(sft_run, other, *FEW, "--names", "a", "b") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "the models have different tokenizers" in shown
    assert "asked through different templates: a by study, b by chat" in shown


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--seeds", 2], "--seeds 2: 3 checkpoints are not 2 for each recipe"),
        (["--seeds", 3, "--names", "a", "b"], "--names: 2 names for 1 recipes of 3 checkpoints each"),
        (["--names", "a"], "--names: 1 names for 3 checkpoints"),
        (["--names", "a", "b", "a"], "--names a b a: checkpoints need names of their own"),
    ],
)
def test_what_does_not_fit_the_checkpoints_is_refused(flags, said, sft_run, capsys):
    assert evaluate(sft_run, sft_run, sft_run, *flags, *FEW) == 2
    assert said in capsys.readouterr().err


def test_recipes_of_one_name_are_refused(sft_run, capsys):
    assert evaluate(*[sft_run] * 4, "--seeds", 2, "--names", "a", "a", *FEW) == 2
    assert "recipes need names of their own" in capsys.readouterr().err
