"""Problems in, problems out: the files, the prompt template, the generated problems. No torch."""

from data.answers import Answer, answer_in, with_stub
from data.problems import (
    FUNCTION_CALL,
    NO_TESTS,
    DataError,
    Problem,
    TestCase,
    load_problems,
    write_problems,
)
from data.prompts import PromptParts, extract, render, render_parts
from data.tiny.corpus import TinyCorpusConfig, tiny_split

__all__ = [
    "FUNCTION_CALL",
    "NO_TESTS",
    "Answer",
    "DataError",
    "Problem",
    "PromptParts",
    "TestCase",
    "TinyCorpusConfig",
    "answer_in",
    "extract",
    "load_problems",
    "render",
    "render_parts",
    "tiny_split",
    "with_stub",
    "write_problems",
]
