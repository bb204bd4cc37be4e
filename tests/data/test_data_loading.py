"""What a user may hand over as problems: every form loads or is refused with what it is and what to do."""

import bz2
import gzip
import json
import lzma
from collections import Counter
from pathlib import Path

import pytest

from data import DataError, TestCase, load_problems

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not here")

OWN = {"id": "p1", "prompt": "Print n.", "tests": [{"input": "1\n", "output": "1\n"}]}
APPS = {"id": 7, "question": "Print n.", "inputs": ["1\n"], "outputs": ["1\n"]}
V2 = {
    "format_version": "2.0",
    "prompts_with_tests": [
        {"problem_id": 3, "prompt": "Print n.", "test_cases": {"inputs": ["1\n"], "outputs": ["1\n"]}}
    ],
}
HUB = {
    "problem_id": 12,
    "question": "Print n.",
    "solutions": json.dumps(["print(input())", "print(int(input()))"]),
    "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["1\n"]}),
    "difficulty": "interview",
    "url": "https://example.org/12",
    "starter_code": "",
}
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "def f(n):\n",
    "entry_point": "f",
    "canonical_solution": "    return n\n",
    "test": "def check(candidate):\n    assert candidate(1) == 1\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write f.",
    "code": "def f(n): return n",
    "test_list": ["assert f(1) == 1"],
    "test_setup_code": "",
    "challenge_test_list": [],
}


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def task(folder: Path, **files: str) -> Path:
    """An APPS task; a name with two underscores stands for one with a dot."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


# --- what loads ---

FORMS = {
    "own": lines(OWN),
    "own, one object over many lines": json.dumps(OWN, indent=2).encode(),
    "own with a byte order mark": b"\xef\xbb\xbf" + lines(OWN),
    "own with CRLF": lines(OWN).replace(b"\n", b"\r\n"),
    "own with blank lines": b"\n\n" + lines(OWN) + b"  \n\n",
    "own with all of these": b"\xef\xbb\xbf\r\n" + lines(OWN).replace(b"\n", b"\r\n\r\n"),
    "own as a list": json.dumps([OWN]).encode(),
    "v2": json.dumps(V2).encode(),
    "APPS": lines(APPS),
    "APPS as a list": json.dumps([APPS], indent=1).encode(),
    "APPS of the hub": lines(HUB),
    "APPS of the hub, not as text": lines({**HUB, "input_output": json.loads(HUB["input_output"])}),
    "APPS of the hub without solutions": lines({**HUB, "solutions": ""}),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("payload", FORMS.values(), ids=FORMS.keys())
def test_every_form_loads_plain_and_gzipped(tmp_path, payload, zipped):
    path = tmp_path / "problems"  # its name plays no part
    path.write_bytes(gzip.compress(payload) if zipped else payload)
    (problem,) = load_problems(path)
    assert (problem.prompt, problem.tests) == ("Print n.", (TestCase("1\n", "1\n"),))


def test_a_row_of_the_hub_gives_id_solutions_and_difficulty(tmp_path):
    (tmp_path / "p").write_bytes(lines(HUB))
    (problem,) = load_problems(tmp_path / "p")
    assert (problem.id, problem.difficulty) == ("12", "interview")
    assert problem.solutions == ("print(input())", "print(int(input()))")


IN_OUT = json.dumps({"inputs": ["1\n"], "outputs": ["1\n"]})


def test_a_folder_of_apps_loads_as_one_task_and_as_many(tmp_path):
    first = task(
        tmp_path / "0001",
        question__txt="Print n.",
        input_output__json=IN_OUT,
        solutions__json='["a"]',
        metadata__json='{"difficulty": "interview", "url": "u"}',
    )
    task(tmp_path / "0002", question__txt="Print m.", input_output__json=IN_OUT)
    (tmp_path / "notes.txt").write_text("not a task")
    (tmp_path / "empty").mkdir()
    (one,) = load_problems(first)
    assert (one.id, one.prompt, one.solutions, one.difficulty) == ("0001", "Print n.", ("a",), "interview")
    assert load_problems(tmp_path)[0] == one
    assert [problem.id for problem in load_problems(tmp_path)] == ["0001", "0002"]


# --- what is refused: (payload or row, part of the message) ---

BAD = {
    "HumanEval": (lines(HUMANEVAL, HUMANEVAL), "a row of HumanEval", "`train.py prepare` makes"),
    "MBPP": (lines(MBPP), "a row of MBPP", "`train.py prepare` makes"),
    "MBPP among others": (lines(OWN, MBPP), ":2: a row of MBPP", "`train.py prepare` makes"),
    "EvalPlus": (lines({**HUMANEVAL, "base_input": [[1]]}), "a row of EvalPlus", "`train.py prepare` makes"),
    "AceCode": (
        lines({"id": 1, "question": "f", "test_cases": ["assert f(1)"], "inferences": []}),
        *("a row of AceCode", "`train.py prepare` makes"),
    ),
    "hub with arguments and no name": (
        lines({**HUB, "input_output": '{"inputs": [[1]], "outputs": [1]}'}),
        *("add fn_name", "(1 of 1 rows"),
    ),
    "hub with broken JSON": (
        lines({**HUB, "input_output": "{"}),
        "'input_output' is malformed JSON",
        "correct",
    ),
    "hub with a long number": (
        lines({**HUB, "input_output": '{"inputs": [' + "9" * 5000 + "]}"}),
        "'input_output' is malformed JSON",
        "digits",
    ),
    "hub with a list": (lines({**HUB, "input_output": "[]"}), "'input_output' holds a list", "an object"),
    "hub with a number": (lines({**HUB, "input_output": 1}), "'input_output' holds a number", "an object"),
    "hub without tests": (lines({**HUB, "input_output": ""}), "no tests", "remove it"),
    "hub, one output missing": (
        lines({**HUB, "input_output": '{"inputs": ["1", "2"], "outputs": ["1"]}'}),
        "2 inputs but 1 outputs",
        "give every input",
    ),
    "hub with broken solutions": (lines({**HUB, "solutions": "[1"}), "'solutions' is malformed", "correct"),
    "hub without id": (
        lines({key: value for key, value in HUB.items() if key != "problem_id"}),
        "'id' is missing",
        "add it",
    ),
    "CodeContests": (
        lines({"description": "", "public_tests": {}, "private_tests": {}}),
        "a row of CodeContests",
        "`train.py prepare` makes",
    ),
    "open-r1": (
        lines({"problem_statement": "", "verification_info": {}}),
        "a row of verifiable-coding-problems",
        "`train.py prepare` makes",
    ),
    "TACO": (
        lines({"question": "x", "input_output": "{}", "time_limit": "", "skill_types": ""}),
        "a row of TACO",
        "`train.py prepare` makes",
    ),
    "DeepCoder": (
        lines({"problem": "", "tests": "[]"}),
        "a row of DeepCoder-Preview",
        "`train.py prepare` makes",
    ),
    "a gzip file cut off": (gzip.compress(lines(OWN))[:-9], "damaged or cut off", "fetch it again"),
    "a gzip file damaged": (gzip.compress(lines(OWN))[:12] + b"\0" * 40, "damaged", "fetch it again"),
    "a gzip file of nothing": (gzip.compress(b""), "empty", "one problem per line"),
    "a gzip file that is not UTF-8": (gzip.compress(b'{"id": "\xff"}'), "not UTF-8", "convert"),
    "Parquet": (b"PAR1\x15\x04", "a Parquet file", "`train.py prepare`"),
    "a zip archive": (b"PK\x03\x04\x14\0", "a zip archive", "unpack it"),
    "bzip2": (bz2.compress(lines(OWN)), "bzip2", "unpack it"),
    "xz": (lzma.compress(lines(OWN)), "xz", "unpack it"),
    "UTF-16": (json.dumps(OWN).encode("utf-16"), "UTF-16", "convert"),
}


@pytest.mark.parametrize(("payload", *"ab"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_used_is_named_in_one_line(tmp_path, payload, a, b):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(payload)
    with pytest.raises(DataError) as caught:
        load_problems(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert a in message and b in message
    assert "\n" not in message


FOLDERS = {
    "an empty folder": ({}, "without question.txt", "name a file"),
    "a folder of files": ({"a.jsonl": "{}"}, "without question.txt", "name a file"),
    "a folder of splits": (
        {"train/1/question.txt": "q", "test/2/question.txt": "q"},
        "name a folder in it",
        "test, train",
    ),
    "a task without tests": ({"1/question.txt": "q"}, "has no tests", "/1: "),
    "a function-call task without a name": (
        {"1/question.txt": "q", "1/input_output.json": '{"inputs": [[1]], "outputs": [1]}'},
        *("add fn_name", "/1: "),
    ),
    "a question that is no text": ({"1/question.txt": b"\xff"}, "not UTF-8", "1/question.txt"),
    "metadata that is no JSON": (
        {"1/question.txt": "q", "1/metadata.json": "{"},
        "malformed",
        "metadata.json",
    ),
    "an empty question": (
        {"1/question.txt": " ", "1/input_output.json": IN_OUT},
        "'question' is empty",
        "/1: ",
    ),
}


@pytest.mark.parametrize(("files", *"ab"), FOLDERS.values(), ids=FOLDERS.keys())
def test_a_folder_that_cannot_be_used_is_named_in_one_line(tmp_path, files, a, b):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        load_problems(tmp_path)
    message = str(caught.value)
    assert message.startswith(str(tmp_path)) and a in message and b in message and "\n" not in message


# --- public files ---


@needs_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("HumanEval.jsonl.gz", "a row of HumanEval; `train.py prepare` makes"),
        ("mbpp.jsonl", "a row of MBPP; `train.py prepare` makes"),
        ("securityeval.jsonl", "a row of SecurityEval; `train.py prepare` makes"),
    ],
)
def test_public_files_of_other_tasks_are_named(name, message):
    with pytest.raises(DataError) as caught:
        load_problems(DATA / name)
    assert message in str(caught.value)


@needs_data
def test_public_files_load():
    skipped: Counter[str] = Counter()
    problems = load_problems(DATA / "apps", skipped=skipped)
    assert [(p.id, p.entry_point, len(p.tests)) for p in problems] == [
        *(("0001", None, 1), ("0111", None, 1), ("2287", None, 3)),
        *(("2404", "Solution.findKthPositive", 1), ("4184", "is_prime", 8)),
    ]
    assert not skipped
