"""HumanEval and MBPP: their references pass, and what a program is worth here is what their own asserts say.

The sets are read where they lie beside the project; without them these tests are skipped.
"""

import ast
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REAL_DATA

from data.formats.base import Unrecorded
from data.formats.known import read_row
from data.problem import Problem
from reward import RewardConfig, Scorer
from reward.recording import record, recording_limits
from reward.references import check_references
from sandbox import Limits, Sandbox, Status

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")]

SETS = {"HumanEval": ("HumanEval.jsonl.gz", 164), "MBPP": ("mbpp.jsonl", 974)}
# Arguments that are objects of the reference's own classes, and one that takes seconds.
WITHOUT_TESTS = {"Mbpp/367", "Mbpp/533", "Mbpp/601", "Mbpp/927"}
TOO_SLOW = {"Mbpp/123"}
# Its asserts take any root of a polynomial; the test that is recorded, the one that the reference finds.
SEVERAL_ANSWERS = {"HumanEval/32"}
LIMITS = Limits(cpu_seconds=2.0)


def tasks_of(name: str) -> list[Unrecorded]:
    file, count = SETS[name]
    path: Path = REAL_DATA / file
    if not path.exists():
        pytest.skip(f"{file} is not here")
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as lines:
        tasks = [read_row(json.loads(line), str(n))[0] for n, line in enumerate(lines, 1)]
    assert len(tasks) == count and all(isinstance(task, Unrecorded) for task in tasks)
    return tasks  # type: ignore[return-value]


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(recording_limits(LIMITS)) as box:
        yield box


@pytest.fixture(scope="module")
def judge() -> Iterator[Scorer]:
    with Scorer(RewardConfig(withhold=()), limits=LIMITS, look=False) as judge:
        yield judge


@pytest.mark.parametrize("name", SETS)
def test_references_pass_the_tests_that_are_made_of_their_asserts(
    name: str, box: Sandbox, judge: Scorer
) -> None:
    tasks = tasks_of(name)
    recorded = record(box, tasks, 1)
    assert {c.problem.id for c in recorded if c.failure is not None} <= WITHOUT_TESTS
    checked = check_references(judge, [c.problem for c in recorded if c.failure is None], 1)
    assert {c.problem.id for c in checked if c.failure is not None} <= TOO_SLOW
    assert sum(c.failure is None for c in checked) >= 0.98 * len(tasks)


OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
WRAPPED = (
    "list({})",
    "tuple({})",
    "str({})",
    "set({})",
    "float({})",
    "[{}]",
    "({} or None)",
    "iter({})",
    "+{}",
)


def mutants(source: str, draw: random.Random, count: int) -> Iterator[str]:
    """The program with one thing changed: an operator, a constant, or what is made of a result."""
    tree = ast.parse(source)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    nodes += [n for n in ast.walk(tree) if isinstance(n, (ast.BinOp, ast.BoolOp)) and type(n.op) in OTHER]
    nodes += [n for n in ast.walk(tree) if isinstance(n, ast.Compare) and type(n.ops[0]) in OTHER]
    nodes += [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) in (int, float, str)]
    for node in draw.sample(nodes, min(count, len(nodes))):
        before = dict(vars(node))
        if isinstance(node, ast.Return):
            wrapped = draw.choice(WRAPPED).format(f"({ast.unparse(node.value)})")  # type: ignore[arg-type]
            node.value = ast.parse(wrapped, mode="eval").body
        elif isinstance(node, ast.Compare):
            node.ops = [OTHER[type(node.ops[0])](), *node.ops[1:]]
        elif isinstance(node, ast.Constant):
            node.value = node.value + ("x" if isinstance(node.value, str) else 1)  # type: ignore[operator]
        else:
            node.op = OTHER[type(node.op)]()  # type: ignore[attr-defined]
        yield ast.unparse(tree)
        vars(node).update(before)


def passes_its_asserts(box: Sandbox, program: str, task: Unrecorded) -> bool | None:
    """In plain Python, in one process; None: over the time limit, which holds for each call here."""
    call = f"\ncheck({task.problem.entry_point})\n" if "def check(candidate)" in task.checks else ""
    report = box.run(f"{program}\n{task.checks}{call}", [""])
    if not report.compiles:
        return False
    status = report.runs[0].status
    return None if status in (Status.TIMEOUT, Status.MEMORY) else status is Status.OK


@pytest.mark.parametrize("name, every", [("HumanEval", 4), ("MBPP", 16)])
def test_what_fails_its_asserts_fails_here_and_the_other_way_round(
    name: str, every: int, box: Sandbox, judge: Scorer
) -> None:
    draw = random.Random(7)
    left_out = WITHOUT_TESTS | TOO_SLOW | SEVERAL_ANSWERS
    tasks = [task for task in tasks_of(name)[::every] if task.problem.id not in left_out]
    verdicts: list[bool] = []
    for task, checked in zip(tasks, record(box, tasks, 1), strict=True):
        problem: Problem = checked.problem
        programs = list(mutants(problem.solutions[0], draw, 3))
        for program, outcome in zip(programs, judge.outcomes([(problem, p) for p in programs]), strict=True):
            expected = passes_its_asserts(box, program, task)
            if expected is not None:
                assert outcome is not None and outcome.all_passed is expected, (problem.id, program)
                verdicts.append(expected)
    assert len(verdicts) > 100 and 10 < sum(verdicts) < len(verdicts) - 10  # both kinds are there
