"""Programs that people and models wrote score as their labels say. Skipped where the real data are not."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from data import Problem, TestCase, load_problems
from reward import Outcome, Scorer, Verdict
from sandbox import Limits

APPS = Path(__file__).parents[2].parent / "shared" / "data" / "apps"
STDIN_STYLE = ("0001", "0111", "2287")  # the other two are function-call tasks

# The labels' own judge ran programs inside a function, where a `return` on the outermost level is allowed.
# To CPython it is a syntax error, and so it is here.
RETURNS_OUTSIDE_A_FUNCTION = {("2287", "solutions", i) for i in (2, 4, 9)} | {("2287", "gen_solutions", 2)}

# These ask for the size of their input, which a file has and a pipe has not. Labels were made with a pipe,
# where they crash; here standard input is a file, and they are right.
READS_BY_SIZE = {"1342_e_placing_rooks_855", "61_e_enemy_is_weak_2240"}


@pytest.fixture(scope="module")
def patient() -> Iterator[Scorer]:
    """The labels of CodeContests were made with ten seconds a test."""
    with Scorer(limits=Limits(cpu_seconds=10.0, output_kb=4096)) as scorer:
        yield scorer


def apps(name: str, kind: str) -> tuple[Problem, list]:
    """One APPS problem from its folder, and its programs of a kind."""
    folder = APPS / name
    if not folder.exists():
        pytest.skip("the APPS sample is not here")
    cases = json.loads((folder / "input_output.json").read_text())
    tests = [TestCase(*pair) for pair in zip(cases["inputs"], cases["outputs"], strict=True)]
    problem = Problem(name, (folder / "question.txt").read_text(), tuple(tests))
    return problem, json.loads((folder / f"{kind}.json").read_text())


def result(outcome: Outcome) -> int | bool:
    """The label of APPS: -2 does not compile, -1 some test did not end well, False wrong, True passed."""
    if not outcome.compiles:
        return -2
    if outcome.all_passed:
        return True
    return -1 if not all(verdict.clean for verdict in outcome.verdicts) else False


def judged(scorer: Scorer, problem: Problem, programs: Sequence[str]) -> list[Outcome]:
    outcomes = scorer.outcomes([(problem, program) for program in programs])
    return [outcome for outcome in outcomes if outcome is not None or pytest.fail("a fault")]


@pytest.mark.parametrize("name", STDIN_STYLE)
def test_the_human_solutions_of_apps_pass(patient: Scorer, name: str) -> None:
    problem, programs = apps(name, "solutions")
    short = {i for i, o in enumerate(judged(patient, problem, programs)) if not o.all_passed}
    assert short == {i for p, kind, i in RETURNS_OUTSIDE_A_FUNCTION if (p, kind) == (name, "solutions")}


# Some of those of 2287 recurse until their time is up.
@pytest.mark.parametrize("name", ["0001", "0111", pytest.param("2287", marks=pytest.mark.slow)])
def test_labelled_generations_agree_with_their_labels(patient: Scorer, name: str) -> None:
    problem, rows = apps(name, "gen_solutions")
    outcomes = judged(patient, problem, [row["code"] for row in rows])
    pairs = list(enumerate(zip(rows, outcomes, strict=True)))
    differ = {i: outcome.error for i, (row, outcome) in pairs if result(outcome) != row["result"]}
    assert set(differ) == {
        i for p, kind, i in RETURNS_OUTSIDE_A_FUNCTION if (p, kind) == (name, "gen_solutions")
    }
    assert all("'return' outside function" in error for error in differ.values())


def label(verdict: Verdict) -> str:
    """The label of the CodeContests sample."""
    if verdict.clean:
        return "OK" if verdict.passed else "WA"
    return {"crash": "RE", "timeout": "TLE"}.get(verdict.status, verdict.status)


def differences(scorer: Scorer, path: Path, take: slice) -> list[tuple[str, list[str], list[str]]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()][take]
    problems = {problem.id: problem for problem in load_problems(path)}
    pairs = [(problems[row["id"]], row["solutions"][0]) for row in rows]
    found = []
    for row, outcome in zip(rows, scorer.outcomes(pairs), strict=True):
        assert outcome is not None and outcome.compiles
        wanted, got = row["plain_python_verdicts"], [label(verdict) for verdict in outcome.verdicts]
        # Ten seconds of wall clock for the label, of CPU here: what was late there may be in time here.
        agree = [mine == plain or plain == "TLE" for mine, plain in zip(got, wanted, strict=True)]
        if not all(agree):
            found.append((row["id"], wanted, got))
    return found


def test_a_sample_of_human_solutions_scores_as_labelled(patient: Scorer, codecontests: Path) -> None:
    assert {name for name, _, _ in differences(patient, codecontests, slice(0, 100, 10))} <= READS_BY_SIZE


@pytest.mark.slow
def test_all_human_solutions_score_as_labelled(patient: Scorer, codecontests: Path) -> None:
    found = differences(patient, codecontests, slice(None))
    assert {name for name, _, _ in found} <= READS_BY_SIZE
    for _, plain, ours in found:
        assert all(p == o or (p, o) == ("RE", "OK") for p, o in zip(plain, ours, strict=True))
