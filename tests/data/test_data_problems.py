"""Problem files: every form loads, every defect is refused with its line, what is written reads back."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import FUNCTION_CALL, NO_TESTS, DataError, Problem, TestCase, load_problems, write_problems
from data.forms import NO_RESULT

CODECONTESTS = Path(__file__).parents[2].parent / "shared" / "data" / "codecontests.jsonl"

OWN = {"id": "p1", "prompt": "Print n.", "tests": [{"input": "1\n", "output": "1\n"}]}
APPS = {"id": 7, "question": "Print n.", "inputs": ["1\n", "2\n"], "outputs": ["1\n", "2\n"]}
V2_ROW = {
    "prompt": "Print n.",
    "test_cases": {"inputs": ["1\n"], "outputs": ["1\n"]},
    "problem_id": 3,
    "difficulty": "interview",
    "num_tests": 1,
}


def without(row: dict, key: str) -> dict:
    return {name: value for name, value in row.items() if name != key}


def v2(*rows: dict, **changes: object) -> str:
    document = {"format_version": "2.0", "count": len(rows), "prompts_with_tests": list(rows), **changes}
    return json.dumps(document, indent=1)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# --- forms ---


def test_own_rows_load(tmp_path):
    row = {
        **OWN,
        "solutions": ["print(1)"],
        "difficulty": "easy",
        "source": "s",
        "split": "rl",
        "compare": "exact",
    }
    assert load_problems(write(tmp_path / "p.jsonl", row)) == [
        Problem("p1", "Print n.", (TestCase("1\n", "1\n"),), ("print(1)",), "easy", "s", "rl", "exact")
    ]


@pytest.mark.parametrize("row", [OWN, APPS, V2_ROW])
def test_a_row_of_any_form_may_declare_its_comparison(tmp_path, row):
    (problem,) = load_problems(write(tmp_path / "p.jsonl", {**row, "compare": "float(1e-9, 0)"}))
    assert problem.compare == "float(1e-9, 0)"


def test_the_v2_prompt_file_loads(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(v2(V2_ROW, {**V2_ROW, "problem_id": "x"}), encoding="utf-8")
    assert [(p.id, p.difficulty, p.tests) for p in load_problems(path)] == [
        ("3", "interview", (TestCase("1\n", "1\n"),)),
        ("x", "interview", (TestCase("1\n", "1\n"),)),
    ]


@pytest.mark.parametrize("form", ["jsonl", "list", "indented list"])
def test_apps_rows_load_as_jsonl_and_as_a_list(tmp_path, form):
    rows = [
        {**APPS, "solution": "print(1)"},
        {**APPS, "id": "b", "solutions": ["a", "b"], "difficulty": "easy"},
    ]
    path = tmp_path / "apps"
    if form == "jsonl":
        write(path, *rows)
    else:
        path.write_text(json.dumps(rows, indent=2 if form.startswith("indented") else None), encoding="utf-8")
    first, second = load_problems(path)
    assert first == Problem("7", "Print n.", (TestCase("1\n", "1\n"), TestCase("2\n", "2\n")), ("print(1)",))
    assert (second.id, second.solutions, second.difficulty) == ("b", ("a", "b"), "easy")


def test_the_name_of_the_file_plays_no_part(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(v2(V2_ROW), encoding="utf-8")
    assert load_problems(path)[0].id == "3"


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + json.dumps(OWN).encode() + b"\r\n\r\n")
    assert [problem.id for problem in load_problems(path)] == ["p1"]


@pytest.mark.skipif(not CODECONTESTS.exists(), reason="the CodeContests sample is not here")
def test_real_competitive_problems_load():
    problems = load_problems(CODECONTESTS)
    assert len(problems) == 150
    assert all(1 <= len(problem.tests) <= 5 and len(problem.solutions) == 1 for problem in problems)


# --- defects: (row, part of the message) ---

BAD_ROWS = {
    "no id": (without(OWN, "id"), "'id' is missing"),
    "no prompt": (without(OWN, "prompt"), "'prompt' is missing"),
    "no tests key": (without(OWN, "tests"), "'tests' is missing"),
    "no tests": ({**OWN, "tests": []}, "no tests"),
    "tests of another type": ({**OWN, "tests": "1"}, "'tests' is a string, not a list"),
    "a test without output": ({**OWN, "tests": [{"input": "1"}]}, "tests[0] is not an object"),
    "a test with more keys": ({**OWN, "tests": [{"input": "1", "output": "1", "x": 1}]}, "tests[0]"),
    "a number as output": ({**OWN, "tests": [{"input": "1", "output": 1}]}, "output of test 0 is a number"),
    "a null input": ({**OWN, "tests": [{"input": None, "output": ""}]}, "test 0 has a null"),
    "a number as id": ({**OWN, "id": 1}, "'id' is a number, not a string"),
    "an empty id": ({**OWN, "id": " "}, "'id' is empty"),
    "an empty prompt": ({**OWN, "prompt": ""}, "'prompt' is empty"),
    "a solution that is no text": ({**OWN, "solutions": [1]}, "solutions[0] is a number"),
    "solutions that are no list": ({**OWN, "solutions": "x"}, "'solutions' is a string, not a list"),
    "a misspelt key": ({**OWN, "soultions": []}, "unknown key 'soultions'"),
    "half a surrogate": ({**OWN, "prompt": "\ud800"}, "surrogate"),
    "a row that is a list": ([1], "is a list, not an object"),
    "a row that is a number": (1, "is a number, not an object"),
    "an unknown form": ({"prompt": "a", "completion": "b"}, "no known form"),
    "apps without inputs": (without(APPS, "inputs"), "'inputs' is missing"),
    "apps with fewer outputs": ({**APPS, "outputs": ["1\n"]}, "2 inputs but 1 outputs"),
    "apps with a null": ({**APPS, "inputs": ["1\n", None]}, "test 1 has a null"),
    "apps without tests": ({**APPS, "inputs": [], "outputs": []}, "no tests"),
    "arguments without a function": ({**APPS, "inputs": [[1], [2]]}, "add fn_name"),
    "arguments that are no JSON": ({**APPS, "fn_name": "f", "inputs": ["1 2", "3"]}, "'1 2' is no JSON"),
    "a function whose name is none": ({**APPS, "fn_name": "f g", "inputs": [[1], [2]]}, "write a name"),
    "a function without arguments": ({**APPS, "fn_name": "f", "inputs": [1, 2]}, "not a list of arguments"),
    "apps id true": ({**APPS, "id": True}, "'id' is true or false"),
    "apps without id": (without(APPS, "id"), "'id' is missing"),
    "v2 with fewer inputs": ({**V2_ROW, "test_cases": {"inputs": [], "outputs": ["1"]}}, "0 inputs but 1"),
    "v2 with cases as a list": ({**V2_ROW, "test_cases": []}, "'test_cases' is a list"),
    "v2 with another count": ({**V2_ROW, "num_tests": 5}, "num_tests is 5 but there are 1"),
    "an unknown comparison": ({**OWN, "compare": "set"}, "'compare': unknown comparison 'set'"),
    "a tolerance below 0": ({**OWN, "compare": "float(-1, 0)"}, "finite numbers >= 0"),
    "apps with an unknown comparison": ({**APPS, "compare": "float:1,2"}, "unknown comparison"),
    "v2 with a null comparison": ({**V2_ROW, "compare": None}, "'compare' is null"),
    "v2 without id": (without(V2_ROW, "problem_id"), "'problem_id' is missing"),
}


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_refused_with_its_line(tmp_path, row, message):
    path = write(tmp_path / "p.jsonl", {**OWN, "id": "good"}, row)
    with pytest.raises(DataError) as caught:
        load_problems(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_FILES = {
    "empty": (b"", 0, "empty"),
    "only white space": (b"\n \n", 0, "empty"),
    "malformed first row": (b'\n{"id": }\n', 2, "malformed JSON"),
    "malformed later row": (json.dumps(OWN).encode() + b"\n\n{,}\n", 3, "malformed JSON"),
    "malformed list": (b'[\n{"id": 1},\n]', 3, "malformed JSON"),
    "unclosed list": (b'[\n{"id": 1}\n', 3, "malformed JSON"),
    "an empty list": (b"[]", 1, "no problem"),
    "text after a list": (b"[]\nx", 2, "after the end"),
    "not UTF-8": (b'{"id":\n "\xff"}', 2, "not UTF-8"),
    "digits without end": (b'{"id": ' + b"9" * 5000 + b"}", 1, "malformed JSON"),
    "lists without end": (b"[" * 100_000, 1, "malformed JSON"),
    "legacy": (b'{"prompts": ["a"]}', 1, "legacy"),
    "another version": (v2(V2_ROW, format_version="3.0").encode(), 1, "format_version is '3.0'"),
    "v2 without a list": (v2(prompts_with_tests={}).encode(), 1, "not a list"),
    "v2 and more": (v2(V2_ROW).encode() + b"\n{}", v2(V2_ROW).count("\n") + 2, "after the end"),
}


@pytest.mark.parametrize(("payload", "line", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_with_its_line(tmp_path, payload, line, message):
    path = tmp_path / "p"
    path.write_bytes(payload)
    with pytest.raises(DataError) as caught:
        load_problems(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert message in str(caught.value)


def test_a_bad_element_is_refused_with_the_line_it_begins_on(tmp_path):
    text = v2(V2_ROW, {**V2_ROW, "problem_id": "x", "prompt": None})
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    line = [number for number, words in enumerate(text.split("\n"), 1) if words == "  {"][1]
    with pytest.raises(DataError, match=f"p.json:{line}: 'prompt' is null"):
        load_problems(path)


def test_an_id_used_twice_names_both_lines(tmp_path):
    with pytest.raises(DataError, match=r":3: id 'p1' was used on line 1"):
        load_problems(write(tmp_path / "p.jsonl", OWN, {**OWN, "id": "p2"}, OWN))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"[^\d]: there is no such file"):
        load_problems(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = write(tmp_path / "p.jsonl", OWN)
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        load_problems(path)


# --- skipping, with a count in hand ---


def test_rows_without_standard_input_or_tests_are_skipped_only_into_a_counter(tmp_path):
    path = write(
        tmp_path / "p.jsonl",
        APPS,
        {**APPS, "id": 8, "inputs": [[1], [2]]},
        {**APPS, "id": 9, "fn_name": "f", "inputs": [[1]], "outputs": [1]},
        {**OWN, "tests": []},
    )
    skipped: Counter[str] = Counter()
    assert [problem.id for problem in load_problems(path, skipped=skipped)] == ["7", "9"]
    assert skipped == {FUNCTION_CALL: 1, NO_TESTS: 1}


@pytest.mark.parametrize("compare", ["lines", "exact", "tokens", "float"])
@pytest.mark.parametrize("outputs", [[""], ["", " \n"], ["\n\r\n", "\t"]])
def test_what_pass_solves_is_no_problem_in_any_form(tmp_path, outputs, compare):
    pairs = [{"input": "1", "output": text} for text in outputs]
    cases = {"inputs": ["1"] * len(outputs), "outputs": outputs}
    rows = (
        {**OWN, "tests": pairs, "compare": compare},
        {**{key: APPS[key] for key in ("id", "question")}, **cases, "compare": compare},
        {"problem_id": "b", "prompt": "Print.", "test_cases": cases, "compare": compare},
        {"id": "c", "question": "Print.", "input_output": json.dumps(cases), "compare": compare},
    )
    for row in rows:
        path = write(tmp_path / "p.jsonl", row)
        if compare == "exact" and any(outputs):  # a line's end has to be printed, too
            assert len(load_problems(path)) == 1
            continue
        with pytest.raises(DataError, match=r"p\.jsonl:1: no test expects any output") as error:
            load_problems(path)
        assert "\n" not in str(error.value)
        skipped: Counter[str] = Counter()
        assert load_problems(path, skipped=skipped) == [] and skipped == {NO_RESULT: 1}
    write(tmp_path / "p.jsonl", {**OWN, "tests": [*pairs, {"input": "2", "output": "\u00a0"}]})
    assert len(load_problems(tmp_path / "p.jsonl")[0].tests) == len(pairs) + 1


@pytest.mark.parametrize("row", [{**APPS, "outputs": ["1\n"]}, {**APPS, "outputs": ["1\n", None]}])
def test_a_defect_is_never_skipped(tmp_path, row):
    with pytest.raises(DataError):
        load_problems(write(tmp_path / "p.jsonl", row), skipped=Counter())


def test_a_file_of_which_everything_was_skipped_gives_an_empty_list(tmp_path):
    skipped: Counter[str] = Counter()
    assert load_problems(write(tmp_path / "p.jsonl", {**OWN, "tests": []}), skipped=skipped) == []
    assert skipped == {NO_TESTS: 1}


# --- writing ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
filled = texts.filter(lambda text: text.strip())
problems = st.builds(
    Problem,
    id=filled,
    prompt=filled,
    tests=st.lists(st.builds(TestCase, texts, texts), min_size=1, max_size=3)
    .filter(lambda tests: any(test.output.strip() for test in tests))
    .map(tuple),
    solutions=st.lists(texts, max_size=2).map(tuple),
    difficulty=st.none() | filled,
    source=st.none() | filled,
    split=st.none() | filled,
    compare=st.sampled_from(["lines", "exact", "tokens", "float", "float(1e-9, 0)"]),
)


@given(st.lists(problems, min_size=1, max_size=4, unique_by=lambda problem: problem.id))
@settings(max_examples=80, deadline=None)
def test_what_is_written_reads_back_equal(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("round") / "p.jsonl"
    write_problems(path, written)
    assert load_problems(path) == written


def test_line_ends_of_every_kind_survive(tmp_path):
    text = "a\r\nb\rc\u2028d\u0085e\x0cf"
    problem = Problem("p", text, (TestCase(text, text),), (text,))
    write_problems(tmp_path / "p.jsonl", [problem])
    assert load_problems(tmp_path / "p.jsonl") == [problem]


UNWRITABLE = {
    "no problem": [],
    "no tests": [Problem("p", "x", ())],
    "an id twice": [Problem("p", "x", (TestCase("", "1"),))] * 2,
    "half a surrogate": [Problem("p", "\ud800", (TestCase("", "1"),))],
    "an unknown comparison": [Problem("p", "x", (TestCase("", "1"),), compare="set")],
    "a list for a tuple": [Problem("p", "x", [TestCase("", "1")])],
}


@pytest.mark.parametrize("unwritable", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_what_could_not_be_read_back_is_not_written(tmp_path, unwritable):
    path = tmp_path / "p.jsonl"
    path.write_text("before")
    with pytest.raises(DataError):
        write_problems(path, unwritable)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["p.jsonl"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "p.jsonl"
    path.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_problems(path, [Problem("p", "x", (TestCase("", "1"),))])
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["p.jsonl"]


def test_writing_into_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_problems(tmp_path / "absent" / "p.jsonl", [Problem("p", "x", (TestCase("", "1"),))])
