"""One row of JSON -> one problem, for the forms a row may have; which it has, its keys say.

    own         id, prompt, tests [{input, output}], ... (of function-call tasks: entry_point)
    v2.0        problem_id, prompt, test_cases {inputs, outputs}, ... (rows of SecureCodeRL's prompt file)
    APPS        question, inputs, outputs, solution(s), ...
    APPS, hub   question, input_output and solutions as text of JSON (also data/apps_folder.py)

Rows of other public sets are known by name, to say what they are.
"""

import json
from collections.abc import Sequence
from typing import Any

from data.comparison import OF_VALUES, parse_comparison
from data.fields import RowError, check_encodable, identifier_at, kind, list_at, optional_at, text_at
from data.harness import is_entry_point
from data.problem import Problem, TestCase
from data.values import decode, decode_call

FUNCTION_CALL = "function-call task"
NO_TESTS = "no tests"
NO_RESULT = "no result is expected"

_OWN_KEYS = tuple("id prompt tests solutions difficulty source split compare entry_point stub".split())

# Keys that only a row of this set has together. All of these call a function.
FUNCTION_SETS = {
    "HumanEval": {"task_id", "prompt", "entry_point", "canonical_solution", "test"},
    "EvalPlus": {"task_id", "prompt", "entry_point", "base_input"},
    "MBPP": {"task_id", "test_list", "code"},
    "AceCode": {"question", "test_cases", "inferences"},
    "KodCode": {"question", "solution", "test", "test_info"},
}


def problem_of(row: Any) -> Problem:
    """The problem of a row, or RowError: `skippable` if the whole row may be left out by its kind."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind(row)}, not an object; write {{...}}")
    for name, keys in FUNCTION_SETS.items():
        if keys <= row.keys():
            raise function_call(f"{name}: its tests call a function")
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
        if test.public:
            shown["public"] = True
    if problem.solutions:
        row["solutions"] = list(problem.solutions)
    for key in ("difficulty", "source", "split", "entry_point"):
        if (value := getattr(problem, key)) is not None:
            row[key] = value
    if problem.stub:
        row["stub"] = problem.stub
    if problem.compare != "lines" or problem.entry_point is not None:
        row["compare"] = problem.compare
    return row


def _from_own(row: dict[str, Any]) -> Problem:
    if unknown := sorted(row.keys() - set(_OWN_KEYS)):
        raise RowError(f"unknown key {unknown[0]!r}; the keys are {', '.join(_OWN_KEYS)}")
    tests = list_at(row, "tests")
    for number, test in enumerate(tests):
        if not isinstance(test, dict) or not {"input", "output"} <= test.keys() <= {
            "input",
            "output",
            "public",
        }:
            raise RowError(
                f"tests[{number}] is not an object of 'input' and 'output'; write both "
                "(and 'public' if the text shows it)"
            )
        if not isinstance(test.get("public", False), bool):
            raise RowError(f"tests[{number}]: 'public' is {kind(test['public'])}; write true or false")
    entry_point = optional_at(row, "entry_point")
    problem = Problem(
        id=text_at(row, "id"),
        prompt=text_at(row, "prompt"),
        tests=tests_of(
            [(test["input"], test["output"]) for test in tests], [test.get("public", False) for test in tests]
        ),
        solutions=solutions_of(row),
        difficulty=optional_at(row, "difficulty"),
        source=optional_at(row, "source"),
        split=optional_at(row, "split"),
        compare=_compare(row, "lines" if entry_point is None else "json"),
        entry_point=entry_point,
        stub=optional_at(row, "stub") or "",
    )
    check_calls(problem)
    return problem


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
    if all(test.output.strip() == "null" for test in problem.tests):  # `pass` would solve it
        raise RowError("no test expects a value: there is nothing to compute", NO_RESULT)


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
    return Problem(
        id=identifier_at(row, "problem_id"),
        prompt=text_at(row, "prompt"),
        tests=tests,
        difficulty=optional_at(row, "difficulty"),
        compare=_compare(row),
    )


def _from_apps(row: dict[str, Any]) -> Problem:
    cases = json_at(row, "input_output", dict, {}) if "input_output" in row else row
    if row.get("fn_name") is not None or cases.get("fn_name") is not None:
        raise function_call("fn_name is set")
    if "input_output" in row and not cases:
        raise _no_tests()
    pairs = pairs_of(cases)
    return Problem(
        id=identifier_at(row, "problem_id" if "problem_id" in row and "id" not in row else "id"),
        prompt=text_at(row, "question"),
        tests=tests_of(pairs),
        solutions=solutions_of(row),
        difficulty=optional_at(row, "difficulty"),
        source=optional_at(row, "source"),
        split=optional_at(row, "split"),
        compare=_compare(row),
    )


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
            raise function_call(f"the input of test {number} is {kind(given)}, not a string")
        if not isinstance(expected, str):
            raise RowError(
                f"the output of test {number} is {kind(expected)}, not a string; write what is printed"
            )
        for text in (given, expected):
            check_encodable(text, f"test {number}")
    shown = public or [False] * len(pairs)
    return tuple(TestCase(*pair, is_shown) for pair, is_shown in zip(pairs, shown, strict=True))


def _no_tests() -> RowError:
    return RowError("the problem has no tests; give it at least one or remove it", NO_TESTS)


def function_call(why: str) -> RowError:
    return RowError(
        f"a function-call task ({why}), and programs here read standard input",
        FUNCTION_CALL,
    )


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
