"""`train.py prepare` on a small file of every public set, as it is published: JSON lines or Parquet."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import set_rows
from small_runs import command

from data import Problem, load_problems
from data.formats.known import FORMATS

CALLS = {"fn_name": "add_one", "inputs": [[1], [2]], "outputs": [[2], [3]]}  # as codewars' are in APPS
LEETCODE = "class Solution:\n    def addOne(self, a: List[int]) -> int:\n        "
LINES = [{"testtype": "functional", "input": "[1, 5]", "output": "2"}]  # one argument

SETS = {
    # row, split, entry point, tests and those of them that are public
    "APPS+": (set_rows.APPS_PLUS, "train", None, 2, 0),
    "APPS+, a function": (
        {**set_rows.APPS_PLUS, **CALLS, "solution": set_rows.CODE},
        *("train", "add_one", 2, 0),
    ),
    "APPS of the hub": (set_rows.APPS_HUB, "train", None, 2, 0),
    "TACO": (set_rows.TACO, "train", None, 2, 0),
    "TACO, a function": (
        {
            **set_rows.TACO,
            "input_output": json.dumps(CALLS),
            "solutions": json.dumps([set_rows.CODE]),
        },
        *("train", "add_one", 2, 0),
    ),
    "CodeContests": (set_rows.CODECONTESTS, "train", None, 2, 1),
    "open-r1": (set_rows.OPEN_R1, "train", None, 2, 0),
    "DeepCoder": (set_rows.DEEPCODER_DICT, "train", None, 2, 0),
    "DeepCoder, of LiveCodeBench": (
        {
            **set_rows.DEEPCODER_LIST,
            "tests": json.dumps(LINES),
            "solutions": [f"{LEETCODE}return a[0] + 1"],
            "starter_code": LEETCODE,
            "metadata": {"func_name": "addOne"},
        },
        *("train", "Solution.addOne", 1, 0),
    ),
    "LiveCodeBench": (set_rows.LIVECODEBENCH, "heldout", None, 1, 1),
    "MBPP": (set_rows.MBPP, "train", "add_one", 3, 1),
    "MBPP, sanitized": (set_rows.MBPP_SANITIZED, "prompt", "add_one", 2, 1),
    "MBPP+ of the hub": (set_rows.MBPP_PLUS_HUB, "heldout", "add_one", 2, 1),
    "MBPP+": (set_rows.MBPP_PLUS, "heldout", "add_one", 3, 1),
    "HumanEval": (set_rows.HUMANEVAL, "heldout", "add_one", 2, 1),
    "HumanEval+": (set_rows.HUMANEVAL_PLUS, "heldout", "add_one", 2, 1),
    "LeetCodeDataset": (set_rows.LEETCODE, "train", "Solution.addOne", 1, 1),
    "KodCode": (set_rows.KODCODE, "train", "add_one", 1, 0),
    "KodCode, first form": (set_rows.KODCODE_FIRST, "train", "add_one", 1, 0),
    "AceCode": (set_rows.ACECODE, "train", "add_one", 2, 0),
    "SecurityEval": (set_rows.SECURITYEVAL, "heldout", "listing", 0, 0),
    "CyberSecEval": (set_rows.CYBERSECEVAL, "heldout", None, 0, 0),
    "SecCodePLT": (set_rows.SECCODEPLT, "heldout", "read_note", 2, 0),
    "CWEval": (set_rows.CWEVAL, "heldout", "host", 2, 0),
    "v2.0": (set_rows.V2, "train", None, 2, 0),
    "own": (set_rows.OWN, "train", None, 2, 1),
}
WITHOUT_REFERENCE = ("LiveCodeBench", "v2.0", "SecurityEval", "CyberSecEval")
PARQUET = ("APPS of the hub", "TACO", "CodeContests", "open-r1", "DeepCoder", "MBPP, sanitized")
PARQUET += ("MBPP+ of the hub", "KodCode", "AceCode", "DeepCoder, of LiveCodeBench")


def prepared(folder: Path, row: dict, is_parquet: bool) -> tuple[dict, list[Problem]]:
    """The report, and the problems of all files."""
    source, out = folder / "source", folder / "out.jsonl"
    if is_parquet:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), source)
    else:
        source.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert command("prepare", source, "--out", out) == 0
    report = json.loads((folder / "out.prepare.json").read_text(encoding="utf-8"))
    files = sorted(folder.glob("*.jsonl"))
    return report, [problem for path in files for problem in load_problems(path, untested=True)]


@pytest.mark.parametrize("name", SETS)
def test_a_row_of_every_set_becomes_a_problem_whose_reference_passes(tmp_path, name):
    row, *expected = SETS[name]
    report, (problem,) = prepared(tmp_path, row, name in PARQUET)
    public = sum(test.public for test in problem.tests)
    assert [problem.split, problem.entry_point, len(problem.tests), public] == expected
    assert report["references"]["passed"] == bool(problem.solutions)
    assert bool(problem.solutions) == (name not in WITHOUT_REFERENCE)


def mbpp(number: int, **changes: object) -> dict:
    return {**set_rows.MBPP, "task_id": number, "text": f"Add one, in the way of {number}.", **changes}


def test_mbpp_becomes_a_file_for_each_split_and_every_problem_lost_is_named(tmp_path):
    """And the same source gives the same bytes."""
    counts = "calls = []\ndef add_one(n):\n    calls.append(n)\n    return len(calls)"
    node = "class Node: pass\ndef add_one(n):\n    return 1"
    rows = [
        *(mbpp(1), mbpp(11), mbpp(511), mbpp(601), mbpp(602)),
        mbpp(603, test_list=["assert add_one(1) == 3"]),
        mbpp(604, code=node, test_list=["assert add_one(Node()) == 1"]),
        mbpp(605, text=mbpp(11)["text"]),
        mbpp(606, code=counts, test_list=["add_one(1)", "add_one(2)"]),
    ]
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        source = folder / "mbpp.jsonl"
        source.write_text("".join(json.dumps({**row, "challenge_test_list": []}) + "\n" for row in rows))
        assert command("prepare", source, "--out", folder / "out.jsonl") == 0
        written.append({path.name: path.read_bytes() for path in folder.glob("out*.jsonl")})
    assert written[0] == written[1]
    ids = {path.name: [problem.id for problem in load_problems(path)] for path in folder.glob("out*.jsonl")}
    assert ids == {
        "out.jsonl": ["Mbpp/601", "Mbpp/602"],
        "out.heldout.jsonl": ["Mbpp/11"],
        "out.validation.jsonl": ["Mbpp/511"],
        "out.prompt.jsonl": ["Mbpp/1"],
    }
    report = json.loads((folder / "out.prepare.json").read_text())
    assert {cause: list(lost) for cause, lost in report["failed_problems"].items()} == {
        "reference fails its own checks": ["Mbpp/603"],
        "calls that no test can hold": ["Mbpp/604"],
        "wrong output": ["Mbpp/606"],
    }
    assert report["failed_problems"]["reference fails its own checks"]["Mbpp/603"] == "AssertionError"
    assert report["left_out"] == {"held out, and in training too": 1}
    assert "Mbpp/605" in report["first_left_out"]["held out, and in training too"]


def test_no_set_is_forgotten():
    keys = [frozenset(row) for row, *_ in SETS.values()]
    assert all(any(form.keys <= there for there in keys) for form in FORMATS)
