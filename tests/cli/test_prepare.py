"""`train.py prepare`: a data set in, checked problems out; what is left out is counted; bad input."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from small_runs import command

from data import load_problems

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not here")

RIGHT = "print(int(input()) + 1)\n"
FAST = ["--limits.cpu-seconds", "0.5"]


def row(number: int, **changes: object) -> dict:
    """A row of APPS+: print n + `number`."""
    inputs = [f"{n}\n" for n in range(6)]
    return {
        "id": number,
        "question": f"Print n + {number}.",
        "inputs": inputs,
        "outputs": [f"{n + number}\n" for n in range(6)],
        "solution": f"print(int(input()) + {number})",
        **changes,
    }


def source(folder: Path, *rows: object, name: str = "data.json") -> Path:
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    return folder / name


def prepare(path: Path, *flags: object) -> tuple[int, dict, list]:
    """Exit status, the report and the problems of one run."""
    out = path.parent / "out.jsonl"
    status = command("prepare", path, "--out", out, *FAST, *flags)
    report = path.parent / "out.prepare.json"
    if not report.exists():
        return status, {}, []
    return status, json.loads(report.read_text()), load_problems(out) if out.exists() else []


def test_what_is_no_checked_problem_is_left_out_and_counted(tmp_path, capsys):
    path = source(
        tmp_path,
        row(1),
        row(2, inputs=[[1]] * 6),
        row(3, inputs=[[1]] * 6),
        row(4, inputs=[], outputs=[]),
        row(5, inputs=["1"] * 6),
        row(6, question="print  N + 1!"),
        row(7, solution="print(input())"),
        row(8, solution="while True: pass"),
        row(9, solution="print 1"),
        row(10, solution="1 / 0"),
        row(11, solution=None),
        row(1, question="Another text."),
        row(12, outputs=["x" * 300_000] * 6),
        row(13, outputs=["", " \n"] * 3),
        row(14, outputs=["", *["x" * 300_000] * 5]),  # of the tests that are left none expects anything
    )
    status, report, problems = prepare(path)
    assert status == 0
    assert [problem.id for problem in problems] == ["1", "11"]
    assert report["rows"] == 15
    assert report["left_out"] == {
        "function-call task": 2,
        "no tests": 1,
        "contradictory tests": 1,
        "copy of another text": 1,
        "id used twice": 1,
        "tests over the limits": 1,
        "no result is expected": 2,
    }
    assert report["references"] == {
        "passed": 1,
        "failed": {"wrong output": 1, "timeout": 1, "does not compile": 1, "crash": 1, "no reference": 1},
    }
    assert report["failed_problems"]["wrong output"] == {"7": "test 0: '0\\n'"}
    assert report["failed_problems"]["timeout"] == {"8": "test 0"}
    assert report["failed_problems"]["crash"] == {"10": "test 0: ZeroDivisionError: division by zero"}
    assert report["large_tests_left_out"] == 11
    assert report["written"] == {"train": 2}
    told = capsys.readouterr().out
    assert "15 rows" in told and "2 function-call task" in told and "1 timeout" in told
    assert len(told.splitlines()) <= 24  # one screen


def test_the_same_source_and_seed_give_the_same_bytes(tmp_path):
    rows = [row(n) for n in range(1, 9)]
    files = []
    for name, flags in {"a": [], "b": [], "c": ["--seed", "2"]}.items():
        (tmp_path / name).mkdir()
        path = source(tmp_path / name, *rows)
        assert prepare(path, "--max-tests", "3", "--heldout", "0.4", *flags)[0] == 0
        files.append([(tmp_path / name / f"out{end}").read_bytes() for end in (".jsonl", ".heldout.jsonl")])
        report = json.loads((tmp_path / name / "out.prepare.json").read_text())
        assert report["tests"] == {"all": 24, "least": 3, "median": 3, "most": 3}
        assert sum(report["written"].values()) == 8 and len(report["written"]) == 2
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_what_is_held_out_is_in_a_file_of_its_own_and_not_in_training(tmp_path):
    path = source(
        tmp_path,
        *(row(1, split="train"), row(2, split="test"), row(3, split="validation")),
        row(4, question="print n + 2", split="train"),
    )
    _, report, problems = prepare(path)
    assert [problem.id for problem in problems] == ["1"]
    assert [p.id for p in load_problems(tmp_path / "out.heldout.jsonl")] == ["2"]
    assert [p.id for p in load_problems(tmp_path / "out.validation.jsonl")] == ["3"]
    assert report["left_out"] == {"held out, and in training too": 1}


def test_texts_of_another_file_are_left_out(tmp_path):
    other = source(tmp_path, row(2), name="held.json")
    _, report, problems = prepare(source(tmp_path, row(1), row(2)), "--against", other)
    assert [problem.id for problem in problems] == ["1"]
    assert report["left_out"] == {"held out, and in training too": 1}


def test_problems_that_fail_may_be_tagged_and_those_without_reference_dropped(tmp_path):
    path = source(tmp_path, row(1), row(2, solution="print(1)"), row(3, solution=None))
    _, report, problems = prepare(path, "--failed", "tag", "--unreferenced", "drop")
    assert [(problem.id, problem.split) for problem in problems] == [("1", "train"), ("2", "unverified")]
    assert report["written"] == {"train": 1, "unverified": 1}


def test_only_references_that_pass_are_kept(tmp_path):
    path = source(tmp_path, row(1, solutions=["print(0)", RIGHT, RIGHT + "# too\n", RIGHT]))
    _, _, (problem,) = prepare(path)
    assert problem.solutions == (RIGHT, RIGHT + "# too\n")


def test_parquet_is_read_and_its_hash_and_licence_told(tmp_path):
    path = tmp_path / "test-00000-of-00001.parquet"
    taco = {
        "question": "Print n + 1.",
        "solutions": json.dumps([RIGHT]),
        "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]}),
        "difficulty": "EASY",
        "time_limit": "1",
        "skill_types": "[]",
    }
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([taco]), path)
    status, report, _ = prepare(path)
    assert status == 0
    assert report["forms"] == [{"name": "TACO", "licence": "Apache-2.0", "rows": 1}]
    assert len(report["source_sha256"]) == 64
    assert list(report["files"]) == ["out.heldout.jsonl"]  # by the file's name


def test_comparison_may_be_set_for_a_source(tmp_path):
    path = source(tmp_path, row(1, solution="print(int(input()) + 1.0000000001)"))
    assert prepare(path)[0] == 2
    _, _, (problem,) = prepare(path, "--compare", "float(1e-6, 1e-6)")
    assert problem.compare == "float(1e-6, 1e-6)"


def test_what_is_there_is_not_replaced_unasked(tmp_path, capsys):
    path = source(tmp_path, row(1))
    names = [
        f"out.{end}" for end in ("jsonl", "heldout.jsonl", "validation.jsonl", "prompt.jsonl", "prepare.json")
    ]
    for name in names:
        (tmp_path / name).write_text("{}")
        assert command("prepare", path, "--out", tmp_path / "out.jsonl") == 2
        assert "is there already; name another --out" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == "{}"
    status, report, problems = prepare(path, "--overwrite")
    assert (status, len(problems)) == (0, 1)
    assert list(report["files"]) == ["out.jsonl"] and not (tmp_path / "out.heldout.jsonl").exists()


def test_the_folder_of_the_output_is_made(tmp_path):
    out = tmp_path / "new" / "folder" / "out.jsonl"
    assert command("prepare", source(tmp_path, row(1)), "--out", out) == 0
    assert len(out.read_text().splitlines()) == 1


BAD = {
    "no source": ([], [], "name the data set"),
    "no such file": (["absent.json"], [], "there is no such file or folder"),
    "no folder for the output": (
        ["data.json"],
        ["--out", "mixed.json/x/out.jsonl"],
        "mixed.json/x: not a dir",
    ),
    "an unknown comparison": (["data.json"], ["--compare", "set"], "unknown comparison"),
    "the source as output": (["data.json"], ["--out", "data.json", "--overwrite"], "over or into the source"),
    "an output in the source": (["."], ["--out", "out.jsonl"], "over or into the source"),
    "outputs missing": (["uneven.json"], [], "2 inputs but 1 outputs; give every input its output"),
    "a way out": (["uneven.json"], [], "--malformed drop"),
    "nothing left": (["functions.json"], [], "nothing is left of 2 rows: 2 function-call task; the first: "),
    "two forms in one file": (["mixed.json"], [], "mixed.json:1: a row of own, after rows of rows of APPS"),
    "two forms in one folder": (["folder"], [], "a row of own, after rows of rows of APPS; prepare one set"),
    "an empty file": (["empty.json"], [], "the file is empty"),
    "a Parquet file without rows": (["none.parquet"], [], "nothing is left of 0 rows: it is empty"),
    "a Parquet file cut off": (["cut.parquet"], [], "not a whole Parquet file"),
    "a gzip file cut off": (["cut.json.gz"], [], "damaged or cut off"),
    "a column missing": (["column.parquet"], [], "of APPS are missing input_output"),
    "a file of another kind": (
        ["secure.jsonl"],
        [],
        "a row of no known form: its keys are body, ticket; known are",
    ),
    "nothing left of references": (["wrong.json"], [], "1 reference: wrong output"),
    "columns of no known set": (["other.parquet"], [], "are those of no known set"),
    "an empty folder": (["empty"], [], "no APPS task"),
    "a file that is no text": (["image.json"], [], "not UTF-8"),
}


@pytest.mark.parametrize(("names", "flags", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, names, flags, message):
    monkeypatch.chdir(tmp_path)
    source(tmp_path, row(1))
    source(tmp_path, row(1, inputs=["1", "2"], outputs=["1"]), name="uneven.json")
    source(tmp_path, row(1, inputs=[[1]] * 6), row(2, inputs=[[1]] * 6), name="functions.json")
    own = {"id": "a", "prompt": "p", "tests": [{"input": "1", "output": "1"}]}
    source(tmp_path, row(1), own, name="mixed.json")
    (tmp_path / "folder").mkdir()
    source(tmp_path / "folder", row(1), name="a.json")
    source(tmp_path / "folder", own, name="b.json")
    (tmp_path / "empty.json").write_bytes(b"")
    hub = pyarrow.Table.from_pylist([{"problem_id": 1, "question": "q", "input_output": "{}"}] * 2)
    pyarrow.parquet.write_table(hub.slice(0, 0), tmp_path / "none.parquet")
    pyarrow.parquet.write_table(hub.drop_columns("input_output"), tmp_path / "column.parquet")
    pyarrow.parquet.write_table(hub, tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(json.dumps([own] * 9).encode())[:-12])
    source(tmp_path, {"ticket": 1, "body": "p"}, name="secure.jsonl")
    source(tmp_path, row(1, solution="print(0)"), name="wrong.json")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"a": 1}]), tmp_path / "other.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "image.json").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    assert command("prepare", *names, *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert not list(tmp_path.glob("problems*"))


def test_malformed_rows_may_be_left_out_and_counted(tmp_path):
    path = source(tmp_path, row(1), row(2, outputs=["1"]), {"a": 1}, 3)
    status, report, problems = prepare(path, "--malformed", "drop")
    assert (status, [problem.id for problem in problems]) == (0, ["1"])
    assert report["left_out"] == {"malformed row": 3}


# --- the public files: what their README says ---


def prepared(name: str, out: Path, *flags: str) -> tuple[dict, dict[str, list]]:
    """The report, and the problems by the end of their file's name."""
    assert command("prepare", DATA / name, "--out", out, *flags) == 0
    files = {path.name.removeprefix(out.stem): load_problems(path) for path in out.parent.glob("*.jsonl")}
    return json.loads(out.with_suffix(".prepare.json").read_text()), files


@needs_data
def test_the_apps_tasks_are_verified(tmp_path):
    report, files = prepared("apps", tmp_path / "apps.jsonl")
    found = [(p.id, p.entry_point, len(p.tests), bool(p.solutions)) for p in files[".jsonl"]]
    assert found == [
        *(("0001", None, 1, True), ("0111", None, 1, True), ("2287", None, 3, True)),
        *(("2404", "Solution.findKthPositive", 1, True), ("4184", "is_prime", 8, True)),
    ]
    assert report["left_out"] == report["references"]["failed"] == {}


@needs_data
@pytest.mark.slow
def test_the_codecontests_problems_that_cpython_passes_are_kept(tmp_path):
    _, files = prepared("codecontests.jsonl", tmp_path / "out.jsonl", "--limits.cpu-seconds", "10")
    rows = [json.loads(line) for line in (DATA / "codecontests.jsonl").read_text().splitlines()]
    passed = {row["id"] for row in rows if set(row["plain_python_verdicts"]) == {"OK"}}
    kept = {problem.id: problem for problem in files[".jsonl"]}
    assert passed <= kept.keys() and len(passed) == 112
    # Two ask their input's size and crashed there only, where it came through a pipe.
    assert all("fstat(0)" in kept[name].solutions[0] for name in kept.keys() - passed)


@needs_data
@pytest.mark.slow
def test_humaneval_is_held_out_and_nearly_all_of_its_references_pass(tmp_path, capsys):
    report, files = prepared("HumanEval.jsonl.gz", tmp_path / "out.jsonl")
    assert report["rows"] == 164
    assert files.keys() == {".heldout.jsonl"}
    assert "out.jsonl is not written: all of this set is for measuring" in capsys.readouterr().out
    assert_most_pass(report, 164)
    assert all(problem.stub == problem.prompt for problem in files[".heldout.jsonl"])


@needs_data
@pytest.mark.slow
def test_mbpp_has_its_splits_and_nearly_all_of_its_references_pass(tmp_path):
    report, files = prepared("mbpp.jsonl", tmp_path / "out.jsonl")
    assert report["rows"] == 974
    lost = {number(name) for found in report["failed_problems"].values() for name in found}
    assert_most_pass(report, 974 - sum(report["left_out"].values()))
    ranges = {".prompt.jsonl": (1, 10), ".heldout.jsonl": (11, 510), ".validation.jsonl": (511, 600)}
    for name, (first, last) in {**ranges, ".jsonl": (601, 974)}.items():
        numbers = {number(problem.id) for problem in files[name]}
        missing = set(range(first, last + 1)) - numbers - lost
        assert numbers <= set(range(first, last + 1)) and len(missing) <= 3  # copies, and texts held out
    assert sum(map(len, files.values())) + len(lost) + sum(report["left_out"].values()) == 974
    assert all(any(test.public for test in p.tests) for p in files[".jsonl"] if " (" not in p.prompt)


def number(name: str) -> int:
    return int(name.removeprefix("Mbpp/"))


def assert_most_pass(report: dict, problems: int) -> None:
    """At least 98 %, and every other one is named with its cause."""
    passed, failed = report["references"]["passed"], report["references"]["failed"]
    assert passed >= 0.98 * problems
    assert passed + sum(failed.values()) == problems
    assert {cause: len(found) for cause, found in report["failed_problems"].items()} == failed


@needs_data
def test_all_of_the_real_securityeval_is_held_out_and_without_tests(tmp_path, capsys):
    assert command("prepare", DATA / "securityeval.jsonl", "--out", tmp_path / "out.jsonl") == 0
    assert "tests       none: whether programs are clean can be measured" in capsys.readouterr().out
    assert len(load_problems(tmp_path / "out.heldout.jsonl", untested=True)) == 121
    assert not (tmp_path / "out.jsonl").exists()
