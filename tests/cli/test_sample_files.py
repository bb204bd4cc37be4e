"""What an evaluation leaves beside its table."""

import json
from pathlib import Path

import pytest
from small_runs import SMALL, command

from cli.sample_files import of_public_sets, sample_files
from data import Problem, TestCase, write_problems

TESTS = (TestCase("", "1"),)


def row(problem: str, program: str) -> dict:
    return {"problem": problem, "program": program, "score": 0.5}


def problems(*ids: str) -> list[Problem]:
    return [Problem(each, "p", TESTS) for each in ids]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_evalplus_and_bigcode_read_their_own_forms(tmp_path):
    """Every sample a line with task_id and solution; a list of programs for every problem, in order."""
    samples = [
        row("HumanEval/1", "a = 'é'\n"),
        row("HumanEval/1", ""),
        row("HumanEval/0", "b"),
        row("HumanEval/0", "c"),
    ]
    with sample_files(
        tmp_path / "evaluation.json", ["runs/x"], problems("HumanEval/1", "HumanEval/0"), for_others=True
    ) as keep:
        keep("runs/x", samples)
    assert names(tmp_path) == ["evalplus_samples.jsonl", "evaluation_samples.jsonl", "generations.json"]
    lines = (tmp_path / "evalplus_samples.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"task_id": sample["problem"], "solution": sample["program"]} for sample in samples
    ]
    assert json.loads((tmp_path / "generations.json").read_text()) == [["a = 'é'\n", ""], ["b", "c"]]


@pytest.mark.parametrize(
    "program, solution",
    [
        ("    return a\n", "def f(a):\n    return a\n"),  # the body alone
        ("def f(a):\n    return a\n", "def f(a):\n    return a\n"),  # with the stub already
        ("def f(a):\n  return 1\n", "def f(a):\n  return 1\n"),
        ("def f(a: int): return 2\n", "def f(a: int): return 2\n"),
        ("f = (", "f = ("),
    ],
)
def test_others_get_whole_programs(tmp_path, program, solution):
    """They run what they read, without the stub that a completion goes on from."""
    problem = Problem(
        "HumanEval/7", "p", (TestCase("[1]", "1"),), compare="json", entry_point="f", stub="def f(a):\n"
    )
    with sample_files(tmp_path / "evaluation.json", ["x"], [problem], for_others=True) as keep:
        keep("x", [row("HumanEval/7", program)])
    assert json.loads((tmp_path / "generations.json").read_text()) == [[solution]]
    line = json.loads((tmp_path / "evalplus_samples.jsonl").read_text())
    assert line == {"task_id": "HumanEval/7", "solution": solution}


@pytest.mark.parametrize(
    "models, marks",
    [
        (["runs/a b/sft", "ppo"], ["-runs-a-b-sft", "-ppo"]),
        (["x", "x"], ["-1", "-2"]),
        (["a/b", "a-b"], ["-1", "-2"]),
        (["..", "y"], ["-1", "-2"]),
    ],
)
def test_files_of_several_models_are_told_apart(tmp_path, models, marks):
    with sample_files(tmp_path / "t0.json", models, problems("Mbpp/2"), for_others=True) as keep:
        for number, model in enumerate(models):
            keep(model, [row("Mbpp/2", str(number))])
    for number, mark in enumerate(marks):
        assert json.loads((tmp_path / f"t0_generations{mark}.json").read_text()) == [[str(number)]]
    kept = (tmp_path / "t0_evaluation_samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["model"] for line in kept] == models


def test_what_is_cut_short_leaves_nothing_half(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        sample_files(tmp_path / "x.json", ["a"], problems("p"), for_others=False) as keep,
    ):
        keep("a", [row("p", "q")])
        raise KeyboardInterrupt
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "ids, known",
    [
        (["HumanEval/0", "HumanEval/163"], True),
        (["Mbpp/2"], True),
        (["HumanEval/0", "mine"], False),
        (["HumanEval/"], False),
        (["xHumanEval/1"], False),
    ],
)
def test_the_problems_of_public_sets_are_known_by_their_ids(ids, known):
    assert of_public_sets(problems(*ids)) is known


def test_evaluate_writes_them_for_public_sets_and_on_request(sft_run, tmp_path):
    others = {"evalplus_samples.jsonl", "generations.json"}
    for ids, flags, written in (
        (("HumanEval/0", "HumanEval/1"), (), others),
        (("HumanEval/0", "HumanEval/1"), ("--for-others", "no"), set()),
        (("a", "b"), (), set()),
        (("a", "b"), ("--for-others", "yes"), others),
    ):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        out.mkdir()
        write_problems(out / "p.jsonl", [Problem(each, f"Print {each}.", TESTS) for each in ids])
        few = ["--problems", out / "p.jsonl", "--samples", 2, "--max-new-tokens", 4, *SMALL, *flags]
        assert command("evaluate", sft_run, *few, "--out", out / "evaluation.json") == 0
        assert set(names(out)) == {
            "p.jsonl",
            "evaluation.json",
            "evaluation.md",
            "evaluation_samples.jsonl",
            *written,
        }
        if written:
            programs = json.loads((out / "generations.json").read_text())
            assert [len(each) for each in programs] == [2, 2]
            lines = (out / "evalplus_samples.jsonl").read_text().splitlines()
            assert [json.loads(line)["task_id"] for line in lines] == [ids[0]] * 2 + [ids[1]] * 2
