"""Rejection sampling: which of a model's answers become demonstrations."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import DataError
from data.preview import preview
from data.problem import Problem
from data.samples import SampleConfig, choose_samples


def sample(problem: str = "a", response: str = "```\nprint(1)\n```", **changes: Any) -> dict[str, Any]:
    """A row as samples.jsonl has it."""
    return {
        "iteration": 1,
        "problem": problem,
        "problem_text": f"Text of {problem}.",
        "response": response,
        "program": response.strip("`\n"),
        "ended": True,
        "score": 1.0,
        "verdict": {"passed": 3, "num_tests": 3},
        **changes,
    }


def write(path: Path, rows: Sequence[Any], end: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + end, encoding="utf-8")
    return path


def choose(path: Path, problems: Any = None, seed: int = 1, **settings: Any) -> list[tuple[str, str, str]]:
    """(problem, its text, answer) of each demonstration."""
    config = SampleConfig(from_samples=(path,), **settings)
    pairs = choose_samples(config, problems or {}, seed).pairs
    return [(problem.id, problem.prompt, answer) for problem, answer in pairs]


@st.composite
def samples(draw: Any) -> list[dict[str, Any]]:
    """Of a few problems, with answers that repeat."""
    row = st.builds(
        sample,
        st.sampled_from("abc"),
        st.sampled_from(["", "x = 1", "x = 2", "x = 3", "print(4)", "  ", "print(5)"]),
        score=st.sampled_from([None, 0.0, 0.4, 0.5, 1.0]),
        ended=st.booleans(),
        verdict=st.sampled_from([{"passed": k, "num_tests": 3} for k in range(4)]),
    )
    return draw(st.lists(row, max_size=30))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples(),
    st.sampled_from([None, 0.4, 0.5, 2.0]),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from(["answer", "program"]),
)
def test_what_is_chosen(tmp_path, rows, least, passed, limit, target):
    """Exactly the answers that qualify, each once, at most so many per problem; whatever their order."""
    if least is None and not passed:
        least = 0.4
    path = write(tmp_path / "samples.jsonl", rows)
    how = {"min_reward": least, "passed_only": passed, "per_problem": limit, "target": target}
    key = "response" if target == "answer" else "program"
    good: dict[str, set[str]] = {}
    for row in rows:
        reward = row["score"] is not None and (least is None or row["score"] >= least)
        tests = not passed or row["verdict"]["passed"] == 3
        if reward and tests and row["ended"] and row[key].strip():
            good.setdefault(row["problem"], set()).add(row[key])
    if not good:
        with pytest.raises(DataError, match="none of the"):
            choose(path, **how)
        return
    chosen = choose(path, **how)
    assert len(set(chosen)) == len(chosen)
    for problem, answers in good.items():
        ours = {answer for name, _, answer in chosen if name == problem}
        assert ours <= answers
        assert len(ours) == (min(limit, len(answers)) if limit else len(answers))
    assert {name for name, _, _ in chosen} == good.keys()
    shuffled = list(rows)
    random.Random(3).shuffle(shuffled)
    again = choose(write(tmp_path / "shuffled.jsonl", shuffled), **how)
    assert sorted(again) == sorted(chosen)


def test_the_seed_draws_among_many(tmp_path):
    rows = [sample(response=f"print({n})") for n in range(40)]
    path = write(tmp_path / "s.jsonl", rows)
    drawn = [choose(path, seed=seed, passed_only=True, per_problem=5) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[2]) == 5


def test_what_was_left_out_is_counted(tmp_path):
    rows = [
        *(sample(response=f"print({n})") for n in range(6)),
        sample(response="print(0)"),
        sample(score=None),
        sample(ended=False),
        sample(score=0.2),
        sample("b", verdict={"passed": 1, "num_tests": 3}),
        sample("b"),
    ]
    config = SampleConfig(from_samples=(write(tmp_path / "s.jsonl", rows),), min_reward=0.5, passed_only=True)
    assert choose_samples(config, {}, 1).note == (
        "5 of 12 samples, of 2 problems, 1 below a reward of 0.5, 2 beyond 4 of a problem, 1 cut off at the "
        "token limit, 1 not scored, 1 the same as another, 1 without all tests passed"
    )


def test_texts_of_problems(tmp_path):
    """Of the samples; of the problems that are given, first; never a text that was cut."""
    long = "x" * 20_000
    path = write(tmp_path / "s.jsonl", [sample("a"), sample("b", problem_text=preview(long, 16_000))])
    with pytest.raises(
        DataError, match=r"s.jsonl:2: has only the beginning of the text of problem 'b'.*--pro"
    ):
        choose(path, passed_only=True)
    problems = {"b": Problem("b", long, (), solutions=("pass",))}
    assert [text for _, text, _ in choose(path, problems, passed_only=True)] == ["Text of a.", long]
    old = sample()
    del old["problem_text"]
    with pytest.raises(DataError, match=r"s.jsonl:1: has no text of problem 'a'.*--problems"):
        choose(write(path, [old]), passed_only=True)


def test_several_files_and_a_log_that_was_cut_off(tmp_path):
    """Of a run that was killed, or still goes on."""
    one = write(tmp_path / "one.jsonl", [sample("a")], end='{"iteration": 2, "probl')
    two = write(tmp_path / "two.jsonl", [sample("b"), sample("a")])
    found = choose_samples(SampleConfig(from_samples=(one, two), passed_only=True), {}, 1)
    assert [problem.id for problem, _ in found.pairs] == ["a", "b"]


BAD: dict[str, tuple[Any, str]] = {
    "another file": ({"prompt": "P", "completion": "C"}, "not a sample of samples.jsonl"),
    "a list": ([1], "the row is no object"),
    "no response": ({k: v for k, v in sample().items() if k != "response"}, "no 'response'"),
    "a program that is null": (sample(program=None), "no 'program'"),
    "no score": ({k: v for k, v in sample().items() if k != "score"}, "'score' is no number"),
    "a score that is a text": (sample(score="1"), "'score' is no number"),
    "half a surrogate": (sample(response="\ud800"), "half a surrogate pair"),
    "a user's reward": (sample(verdict={}), "use --min-reward"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_sample_is_one_line_that_names_it(tmp_path, case):
    row, said = BAD[case]
    with pytest.raises(DataError) as error:
        choose(write(tmp_path / "s.jsonl", [sample(), row]), passed_only=True)
    assert str(error.value).startswith(f"{tmp_path / 's.jsonl'}:2: ")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"a folder; name the samples\.jsonl in it"):
        choose(tmp_path, passed_only=True)
    with pytest.raises(DataError, match="cannot be read"):
        choose(tmp_path / "none.jsonl", passed_only=True)
    (tmp_path / "s.jsonl").write_text("hello\n")
    with pytest.raises(DataError, match="not JSON: is this a file of samples"):
        choose(tmp_path / "s.jsonl", passed_only=True)
    with pytest.raises(DataError, match=r"none of the 2 samples qualifies; the highest reward is 0\.5"):
        choose(write(tmp_path / "s.jsonl", [sample(score=0.5), sample(score=0.1)]), min_reward=0.9)


def test_a_choice_has_to_be_made():
    with pytest.raises(ValueError, match="needs a choice"):
        SampleConfig(from_samples=(Path("s.jsonl"),))
    with pytest.raises(ValueError, match="per_problem"):
        SampleConfig(per_problem=-1)
