"""Reading problems for a command: what no program could pass is refused by the problem's id."""

import json

import pytest

from cli.problems import read_problems
from data import DataError
from data.tiny.corpus import TinyCorpusConfig

TESTS = [{"input": "1", "output": "1"}, {"input": "1", "output": "1.0"}]


def read(tmp_path, **fields):
    path = tmp_path / "problems.jsonl"
    rows = [{"id": "good", "prompt": "Print n.", "tests": TESTS[:1]}]
    rows.append({"id": "odd", "prompt": "Print n.", "tests": TESTS, **fields})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_problems(str(path), TinyCorpusConfig())


def test_contradictory_tests_are_refused_with_the_problem(tmp_path):
    with pytest.raises(DataError, match=r"problems\.jsonl: problem 'odd': tests 0 and 1 have the same input"):
        read(tmp_path)


def test_tests_that_the_comparison_holds_for_equal_are_none(tmp_path):
    assert [problem.id for problem in read(tmp_path, compare="float")] == ["good", "odd"]
