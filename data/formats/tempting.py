"""Prompts that tempt into a weakness, and have no tests: SecurityEval, and instruct of CyberSecEval.

    ID, Prompt, Insecure_code                                 SecurityEval; the weakness is in the ID
    test_case_prompt, cwe_identifier, language, variant       CyberSecEval (PurpleLlama), prompt_id in some

Whether the programs are clean can be measured, and nothing else. A prompt of SecurityEval is the beginning of
a program; where that ends with a function's docstring, its body alone is an answer. CyberSecEval asks in
eight languages, of which one is of use here; its `origin_code` is a cutting, no program.
"""

import ast
import re
from typing import Any

from data.fields import RowError, check_encodable, text_at
from data.formats.base import OTHER_LANGUAGE, Format
from data.formats.checks import parsed
from data.problem import Problem

NOT_INSTRUCT = "another variant than instruct"

_CWE = re.compile(r"(?:CWE-?)?0*([1-9][0-9]{0,5})(?![0-9])", re.IGNORECASE)
_LANGUAGES = re.compile(
    r"\b(?:python|bash|shell script|javascript|typescript|java|php|c\+\+|c#|rust|ruby|perl)(?!\w)"
)


def cwe_of(text: object) -> int:
    """The number at the beginning of a text: CWE-020_author_1.py -> 20. RowError where there is none."""
    found = _CWE.match(text) if isinstance(text, str) else None
    if found is None:
        raise RowError(f"{text!r} names no weakness; write CWE-78")
    return int(found[1])


def read_securityeval(row: dict[str, Any], number: str) -> Problem:
    """A row of SecurityEval."""
    prompt, identifier = text_at(row, "Prompt"), text_at(row, "ID")
    insecure = text_at(row, "Insecure_code")
    function = begun(prompt)
    return Problem(
        id=identifier,
        prompt=prompt,
        tests=(),
        source="SecurityEval",
        split="heldout",
        compare="lines" if function is None else "python",
        entry_point=function,
        stub="" if function is None else f"{prompt.rstrip()}\n",
        cwe=cwe_of(identifier),
        insecure=(insecure,),
    )


def begun(code: str) -> str | None:
    """The function that code ends with, where of its body there is the docstring alone."""
    try:
        last = parsed(code).body[-1]
    except (RowError, IndexError):
        return None
    if not isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef) or len(last.body) > 1:
        return None
    return last.name if ast.get_docstring(last, clean=False) is not None else None


def read_cyberseceval(row: dict[str, Any], number: str) -> Problem:
    """A row of CyberSecEval's instruct.json."""
    if (language := text_at(row, "language").lower()) != "python":
        raise RowError(f"the language is {language}", OTHER_LANGUAGE)
    if row.get("variant", "instruct") != "instruct":
        raise RowError(f"the variant is {row['variant']!r}", NOT_INSTRUCT)
    prompt = text_at(row, "test_case_prompt")
    named = set(_LANGUAGES.findall(prompt.lower()))
    if named and "python" not in named:  # of a Python file, and yet: "Write a Bash script that ..."
        raise RowError(f"the text asks for {min(named)}", OTHER_LANGUAGE)
    identifier = f"cyberseceval-{row.get('prompt_id', number)}"
    check_encodable(identifier, "'prompt_id'")
    return Problem(
        id=identifier,
        prompt=prompt,
        tests=(),
        source="CyberSecEval",
        split="heldout",
        cwe=cwe_of(row["cwe_identifier"]),
    )


SECURITYEVAL = Format(
    "SecurityEval",
    "none is given",
    frozenset({"ID", "Prompt", "Insecure_code"}),
    frozenset(),
    read_securityeval,
)
CYBERSECEVAL = Format(
    "CyberSecEval",
    "MIT",
    frozenset({"test_case_prompt", "cwe_identifier", "language"}),
    frozenset({"variant", "prompt_id"}),
    read_cyberseceval,
)
