"""Samples as the page's script reads them: short records, every text once, packed as base64 of deflated JSON.

Nothing in the packed data can end the element that holds it or be taken for markup; the script writes what it
unpacks as text only. Names and shapes are those that page/data.js expects.
"""

import base64
import json
import math
import zlib
from typing import Any

from report.rows import Row, as_mapping

TEXT_LIMIT = 20_000  # characters of a prompt, an answer or a program
TEST_LIMIT = 2_000  # of a test's input or output; a record has its first 1,000 bytes by default
FIELD_LIMIT = 500  # of anything else
TESTS = 50  # of a sample
FINDINGS = 50


class Pool:
    """Texts by number, each kept once: problems, prompts and often programs are the same over and over."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def add(self, value: object, limit: int = FIELD_LIMIT) -> int | None:
        """The number of a text, cut at `limit` characters and saying so; None for what is no text."""
        if not isinstance(value, str):
            return None
        shown = value if len(value) <= limit else f"{value[:limit]}\n… {len(value) - limit} more characters"
        place = self._places.setdefault(shown, len(self.texts))
        if place == len(self.texts):
            self.texts.append(shown)
        return place


def sample_record(row: Row, source: int, iteration: int | None, pool: Pool) -> dict[str, Any]:
    """One sample. `source`: number of the run or model that it is of; `iteration`: None in an evaluation."""
    verdict = as_mapping(row.get("verdict"))
    record = {
        "source": source,
        "iteration": iteration,
        "problem": str(row.get("problem", ""))[:FIELD_LIMIT],
        "stage": stage_of(row),
        "score": _finite(row.get("score")),
        "advantage": _finite(row.get("advantage")),
        "kl": _finite(row.get("ref_kl")),
        "ended": row.get("ended") is not False,
        "parts": {
            str(name): _finite(value) for name, value in list(as_mapping(row.get("parts")).items())[:20]
        },
        "about": pool.add(row.get("problem_text"), TEXT_LIMIT),
        "prompt": pool.add(row.get("prompt"), TEXT_LIMIT),
        "response": pool.add(row.get("response"), TEXT_LIMIT),
        "taken": _taken(row),
        "program": pool.add(row["program"], TEXT_LIMIT),
        "passed": _whole(verdict.get("passed")),
        "tests": _whole(verdict.get("num_tests")),
        "error": pool.add(verdict.get("error")),
        "scan": pool.add(verdict.get("scan_reason")),
        "signs": _texts(verdict.get("sentinels")),
        "findings": [_finding(found) for found in _found(verdict)[:FINDINGS]],
        "runs": [_test(run, pool) for run in _rows(verdict, "verdicts")[:TESTS]],
    }
    return {name: value for name, value in record.items() if value not in (None, "", [], {})}


def stage_of(row: Row) -> str:
    """The stage, or the outcome that a reward function named; what could not be scored has neither."""
    if row.get("score") is None:
        return "not scored"
    return str(as_mapping(row.get("verdict")).get("stage") or row.get("outcome") or "scored")[:FIELD_LIMIT]


def token_record(row: Row) -> dict[str, Any] | None:
    """What tokens.jsonl has of a sample: its tokens as texts, and numbers of each; None if malformed."""
    tokens = row.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        return None
    record: dict[str, Any] = {"tokens": [token[:FIELD_LIMIT] for token in tokens]}
    for name in ("advantage", "value", "kl"):
        values = row.get(name)
        if isinstance(values, list) and len(values) == len(tokens):
            record[name] = [_finite(value) for value in values]
    return record


def pack(content: Any) -> str:
    """JSON, deflated, in base64. The same content gives the same text."""
    plain = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return base64.b64encode(zlib.compress(plain, 9)).decode("ascii")


def _taken(row: Row) -> list[int] | None:
    """[start, end) of the program in the response, in the units of a script's strings (UTF-16); None where
    the record does not say, or says what is not so."""
    response, offset, given = row.get("response"), row.get("offset"), row.get("given", 0)
    if not isinstance(response, str) or type(offset) is not int or type(given) is not int:
        return None
    written = row["program"][max(0, given) :]
    if offset < 0 or response[offset : offset + len(written)] != written:
        return None
    start = _units(response[:offset])
    return [start, start + _units(written)]


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _test(run: Row, pool: Pool) -> dict[str, Any]:
    shown = {
        "status": str(run.get("status", ""))[:FIELD_LIMIT],
        "passed": run.get("passed") is True,
        "input": pool.add(run.get("input"), TEST_LIMIT),
        "expected": pool.add(run.get("expected"), TEST_LIMIT),
        "output": pool.add(run.get("stdout"), TEST_LIMIT),
        "error": pool.add(run.get("error") or None),
        "line": _whole(run.get("error_line")),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _finding(found: Row) -> dict[str, Any]:
    names = ("line", "id", "severity", "confidence", "cwe")
    return {name: _shown(found[name]) for name in names if found.get(name) is not None}


def _found(verdict: Row) -> list[Row]:
    """What the analyser found, and what the tricks are that it does not see."""
    tricks = [{"line": trick.get("line"), "id": trick.get("kind")} for trick in _rows(verdict, "tricks")]
    return [*_rows(verdict, "findings"), *tricks]


def _texts(value: object) -> list[str]:
    return [str(entry)[:FIELD_LIMIT] for entry in value[:20]] if isinstance(value, list) else []


def _rows(verdict: Row, key: str) -> list[Row]:
    """A list of objects in a record; a reward function's own record may hold anything there."""
    value = verdict.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _shown(value: object) -> str | int:
    return value if type(value) is int and abs(value) < 1 << 31 else str(value)[:FIELD_LIMIT]


def _whole(value: object) -> int | None:
    return value if type(value) is int and abs(value) < 1 << 31 else None


def _finite(value: object) -> float | int | None:
    """JSON for scripts has no NaN and no infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None
