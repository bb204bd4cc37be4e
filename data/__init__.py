"""Problems in, problems out: the files, the prompt template, the generated problems. No torch."""

from data.problems import (
    FUNCTION_CALL,
    NO_TESTS,
    DataError,
    Problem,
    TestCase,
    load_problems,
    write_problems,
)
from data.prompts import PromptParts, extract, render, render_parts, with_stub

__all__ = [
    "FUNCTION_CALL",
    "NO_TESTS",
    "DataError",
    "Problem",
    "PromptParts",
    "TestCase",
    "extract",
    "load_problems",
    "render",
    "render_parts",
    "with_stub",
    "write_problems",
]
