"""`train.py prepare --to`: what other trainers read, and that the adapters understand it."""

import json

import pyarrow.parquet as pq
import pytest
from small_runs import command
from test_bad_input import refused

from data import Problem, TestCase, load_problems, write_problems
from reward.adapters import shared

STDIN = Problem(
    "double",
    "Print twice n. {name} \u2028",
    (TestCase("2\n", "4\n", public=True),),
    ("print(2 * int(input()))",),
)
CALL = Problem(
    "add",
    "Add two.",
    (TestCase("[1, 2]", "3"),),
    ("def add(a, b): return a + b",),
    compare="json",
    entry_point="add",
)


@pytest.fixture
def problems(tmp_path):
    write_problems(tmp_path / "mine.jsonl", [STDIN, CALL])
    return tmp_path / "mine.jsonl"


def test_each_trainer_gets_its_own_columns(problems, tmp_path):
    """The message asks for a program or a function; the ground truth is the problem without references."""
    out = tmp_path / "out.jsonl"
    assert command("prepare", problems, "--out", out, "--to", "trl", "verl", "openrlhf") == 0
    written = load_problems(out)
    assert [problem.solutions != () for problem in written] == [True, True]
    trl = [json.loads(line) for line in (tmp_path / "out.trl.jsonl").open(encoding="utf-8")]
    verl = pq.read_table(tmp_path / "out.verl.parquet").to_pylist()
    openrlhf = [json.loads(line) for line in (tmp_path / "out.openrlhf.jsonl").open(encoding="utf-8")]
    assert set(trl[0]) == {"prompt", "ground_truth", "id"} and set(openrlhf[0]) == {"input", "label"}
    assert set(verl[0]) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    for index, problem in enumerate(written):
        truths = {
            trl[index]["ground_truth"],
            verl[index]["reward_model"]["ground_truth"],
            openrlhf[index]["label"],
        }
        texts = {
            trl[index]["prompt"][0]["content"],
            verl[index]["prompt"][0]["content"],
            openrlhf[index]["input"],
        }
        (truth,), (text,) = truths, texts
        assert "solutions" not in json.loads(truth) and problem.solutions[0] not in truth
        read = shared.problem(truth)
        assert (read.id, read.tests, read.compare) == (problem.id, problem.tests, problem.compare)
        assert problem.prompt.strip() in text
        assert ("defines add" if problem.entry_point else "standard input") in text
    report = json.loads((tmp_path / "out.prepare.json").read_text())
    assert {"out.jsonl", "out.trl.jsonl", "out.verl.parquet", "out.openrlhf.jsonl"} == set(report["files"])


def test_a_file_of_theirs_is_not_replaced_without_being_asked(capsys, problems, tmp_path):
    (tmp_path / "out.trl.jsonl").write_text("mine")
    flags = ["prepare", problems, "--out", tmp_path / "out.jsonl", "--to", "trl"]
    assert "out.trl.jsonl is there already" in refused(capsys, *flags)
    assert (tmp_path / "out.trl.jsonl").read_text() == "mine"
    assert command(*flags, "--overwrite") == 0
