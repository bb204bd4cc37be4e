"""One row of JSON -> one problem, for the forms a row may have; which it has, its keys say.

    own         id, prompt, tests [{input, output}], ... (of function-call tasks: entry_point; of tasks that
                measure security: cwe, and perhaps no tests)
    v2.0        problem_id, prompt, test_cases {inputs, outputs}, ... (rows of SecureCodeRL's prompt file)
    APPS        question, inputs, outputs, solution(s), ...
    APPS, hub   question, input_output and solutions as text of JSON (also data/apps_folder.py)

APPS's tasks that call a function are such problems, too (data/calls.py).
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data.calls import FUNCTION_CALL, call_tests, entry_point_of, with_tolerance
from data.comparison import DEFAULT_TOLERANCE, OF_VALUES, parse_comparison
from data.fields import (
    RowError,
    check_encodable,
    identifier_at,
    kind,
    list_at,
    optional_at,
    text_at,
    texts_at,
)
from data.formats.checks import asked
from data.harness import is_entry_point
from data.imports import with_imports
from data.problem import Problem, TestCase
from data.values import decode, decode_call

NO_TESTS = "no tests"
NO_RESULT = "no result is expected"

_PAIR = {"input", "output"}
_MARKS = ("public", "security")  # what may be said of a test
OWN_KEYS = tuple(
    "id prompt tests solutions difficulty source split compare entry_point stub cwe insecure".split()
)


def problem_of(row: Any) -> Problem:
    """The problem of a row, or RowError: `skippable` if the whole row may be left out by its kind."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind(row)}, not an object; write {{...}}")
    if "question" in row:
        return _from_apps(row)
    if "test_cases" in row:
        return _from_v2(row)
    if "tests" in row or "id" in row:
        return _from_own(row)
    raise RowError(
        f"a row of no known form (keys: {', '.join(sorted(row)) or 'none'}); "
        "write id, prompt, tests, or question, inputs, outputs"
    )


def row_of(problem: Problem) -> dict[str, Any]:
    """The row of our own form that reads back as the problem."""
    row: dict[str, Any] = {
        "id": problem.id,
        "prompt": problem.prompt,
        "tests": [{"input": test.input, "output": test.output} for test in problem.tests],
    }
    for shown, test in zip(row["tests"], problem.tests, strict=True):
        shown.update({mark: True for mark in _MARKS if getattr(test, mark)})
    for key in ("solutions", "insecure"):
        if getattr(problem, key):
            row[key] = list(getattr(problem, key))
    for key in ("difficulty", "source", "split", "entry_point", "cwe"):
        if (value := getattr(problem, key)) is not None:
            row[key] = value
    if problem.stub:
        row["stub"] = problem.stub
    if problem.compare != "lines" or problem.entry_point is not None:
        row["compare"] = problem.compare
    return row


def _from_own(row: dict[str, Any]) -> Problem:
    if unknown := sorted(row.keys() - set(OWN_KEYS)):
        raise RowError(f"unknown key {unknown[0]!r}; the keys are {', '.join(OWN_KEYS)}")
    entry_point, cwe = optional_at(row, "entry_point"), _cwe_at(row)
    problem = Problem(
        id=text_at(row, "id"),
        prompt=text_at(row, "prompt"),
        tests=() if row.get("tests") == [] and cwe is not None else _own_tests(list_at(row, "tests")),
        solutions=solutions_of(row),
        difficulty=optional_at(row, "difficulty"),
        source=optional_at(row, "source"),
        split=optional_at(row, "split"),
        compare=_compare(row, "lines" if entry_point is None else "json"),
        entry_point=entry_point,
        stub=optional_at(row, "stub") or "",
        cwe=cwe,
        insecure=tuple(texts_at(row, "insecure")),
    )
    check_calls(problem)
    return with_result(problem)


def _own_tests(rows: list[Any]) -> tuple[TestCase, ...]:
    for number, test in enumerate(rows):
        if not isinstance(test, dict) or not _PAIR <= test.keys() <= {*_PAIR, *_MARKS}:
            raise RowError(
                f"tests[{number}] is not an object of 'input' and 'output'; write both "
                "(and 'public' if the text shows it, 'security' if it asks whether the program is secure)"
            )
        for mark in _MARKS:
            if not isinstance(test.get(mark, False), bool):
                raise RowError(f"tests[{number}]: {mark!r} is {kind(test[mark])}; write true or false")
    tests = tests_of([(row["input"], row["output"]) for row in rows])
    return tuple(
        replace(test, **{mark: row.get(mark, False) for mark in _MARKS})
        for test, row in zip(tests, rows, strict=True)
    )


def _cwe_at(row: dict[str, Any]) -> int | None:
    cwe = row.get("cwe")
    if cwe is not None and (type(cwe) is not int or cwe < 1):
        raise RowError(f"'cwe' is {cwe!r}; write the weakness's number: 78")
    return cwe


def check_calls(problem: Problem) -> None:
    """RowError if a problem has an entry point, and is not in all its parts a function-call task."""
    if problem.entry_point is None:
        if problem.stub:
            raise RowError("'stub' goes with 'entry_point', the function that it begins; write both")
        return
    if not is_entry_point(problem.entry_point):
        raise RowError(f"'entry_point' is {problem.entry_point!r}; write a function's name, or Class.method")
    if parse_comparison(problem.compare).name not in OF_VALUES:
        raise RowError(f"'compare' is {problem.compare!r}; results of calls are compared as json or python")
    for number, test in enumerate(problem.tests):
        try:
            decode_call(test.input)
            decode(test.output)
        except ValueError as error:
            raise RowError(
                f"test {number} of a function-call task: {error}; write input as a JSON list of arguments, "
                "output as the JSON of the result"
            ) from None
    with_result(problem)


def _from_v2(row: dict[str, Any]) -> Problem:
    cases = row["test_cases"]
    if not isinstance(cases, dict):
        raise RowError(
            f"'test_cases' is {kind(cases)}, not an object; write {{inputs: [...], outputs: [...]}}"
        )
    tests = tests_of(pairs_of(cases))
    count = row.get("num_tests", len(tests))
    if count != len(tests):
        raise RowError(f"num_tests is {count!r} but there are {len(tests)} tests; correct one of them")
    return with_result(
        Problem(
            id=identifier_at(row, "problem_id"),
            prompt=text_at(row, "prompt"),
            tests=tests,
            difficulty=optional_at(row, "difficulty"),
            compare=_compare(row),
        )
    )


def _from_apps(row: dict[str, Any]) -> Problem:
    cases = json_at(row, "input_output", dict, {}) if "input_output" in row else row
    if "input_output" in row and not cases:
        raise _no_tests()
    return posed(
        pairs_of(cases),
        function=row.get("fn_name") or cases.get("fn_name"),
        starter=row.get("starter_code"),
        id=identifier_at(row, "problem_id" if "problem_id" in row and "id" not in row else "id"),
        prompt=text_at(row, "question"),
        solutions=solutions_of(row),
        difficulty=optional_at(row, "difficulty"),
        source=optional_at(row, "source"),
        split=optional_at(row, "split"),
        compare=_compare(row) if "compare" in row else None,
    )


def posed(
    pairs: list[tuple[Any, Any]],
    *,
    function: object,
    starter: object,
    prompt: str,
    solutions: tuple[str, ...],
    compare: str | None = None,
    public: Sequence[bool] = (),
    **rest: Any,
) -> Problem:
    """A problem of (input, output) pairs: of calls, if a function is named or an input is no text; else its
    programs read standard input. `starter`: the code that the text goes on with, if there is any."""
    if not function and all(given is None or isinstance(given, str) for given, _ in pairs):
        tests = tests_of(pairs, public)
        compare = compare or "lines"
        return with_result(Problem(prompt=prompt, tests=tests, solutions=solutions, compare=compare, **rest))
    if not pairs:
        raise _no_tests()
    entry_point = entry_point_of(function, starter, solutions)
    tests = call_tests(pairs, entry_point, public)
    code = starter if isinstance(starter, str) else ""
    if "." in entry_point:
        code, solutions = with_imports(code), tuple(map(with_imports, solutions))
    problem = Problem(
        prompt=asked(prompt, entry_point, starter=code),
        tests=tests,
        solutions=solutions,
        compare=compare or with_tolerance("json", tests, DEFAULT_TOLERANCE, DEFAULT_TOLERANCE),
        entry_point=entry_point,
        **rest,
    )
    check_calls(problem)
    return problem


def json_at(row: dict[str, Any], key: str, form: type, empty: Any) -> Any:
    """A field that holds a list or an object as text of JSON, as APPS has them on the hub, or as it is."""
    value = row[key]
    if isinstance(value, str) and not value.strip():
        return empty
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:  # ValueError also of a number of 5,000 digits
            raise RowError(f"{key!r} is malformed JSON ({error}); correct it") from None
    if not isinstance(value, form):
        expected = "an object" if form is dict else "a list"
        raise RowError(f"{key!r} holds {kind(value)}, not {expected}; correct it")
    return value


def _compare(row: dict[str, Any], usual: str = "lines") -> str:
    """How outputs are compared: `usual` where a row does not say."""
    if "compare" not in row:
        return usual
    text = text_at(row, "compare")
    try:
        parse_comparison(text)
    except ValueError as error:
        raise RowError(f"'compare': {error}") from None
    return text


def pairs_of(row: dict[str, Any]) -> list[tuple[Any, Any]]:
    inputs, outputs = list_at(row, "inputs"), list_at(row, "outputs")
    if len(inputs) != len(outputs):  # pairing as many as there are would shift answers to the wrong questions
        raise RowError(f"{len(inputs)} inputs but {len(outputs)} outputs; give every input its output")
    return list(zip(inputs, outputs, strict=True))


def tests_of(pairs: list[tuple[Any, Any]], public: Sequence[bool] = ()) -> tuple[TestCase, ...]:
    """Tests of (input, output) pairs, checked; `public` says of each whether the text shows it."""
    if not pairs:
        raise _no_tests()
    for number, (given, expected) in enumerate(pairs):
        if given is None or expected is None:
            raise RowError(
                f"test {number} has a null in it; write a string, or remove input and output together"
            )
        if not isinstance(given, str):
            raise RowError(
                f"the input of test {number} is {kind(given)}, not a string; write what is read, or name "
                "the function that is called",
                FUNCTION_CALL,
            )
        if not isinstance(expected, str):
            raise RowError(
                f"the output of test {number} is {kind(expected)}, not a string; write what is printed"
            )
        for text in (given, expected):
            check_encodable(text, f"test {number}")
    shown = public or [False] * len(pairs)
    return tuple(TestCase(*pair, is_shown) for pair, is_shown in zip(pairs, shown, strict=True))


def with_result(problem: Problem) -> Problem:
    """The problem itself, or RowError (skippable) if `pass` solves it."""
    outputs = {test.output.encode("utf-8", "surrogatepass") for test in problem.tests}
    expected = {output.strip() for output in outputs}  # of white space of ASCII, as outputs are compared
    if problem.entry_point is None and (outputs if problem.compare == "exact" else expected) == {b""}:
        raise RowError("no test expects any output: there is nothing to print", NO_RESULT)
    if problem.entry_point is not None and expected == {b"null"}:
        raise RowError("no test expects a value: there is nothing to compute", NO_RESULT)
    return problem


def _no_tests() -> RowError:
    return RowError("the problem has no tests; give it at least one or remove it", NO_TESTS)


def solutions_of(row: dict[str, Any]) -> tuple[str, ...]:
    if row.get("solutions") is None:
        return () if row.get("solution") is None else (text_at(row, "solution"),)
    if "input_output" in row:
        solutions = json_at(row, "solutions", list, [])
    else:
        solutions = list_at(row, "solutions")
    for number, solution in enumerate(solutions):
        if not isinstance(solution, str):
            raise RowError(f"solutions[{number}] is {kind(solution)}, not a string; write the program's text")
        check_encodable(solution, f"solutions[{number}]")
    return tuple(solutions)
