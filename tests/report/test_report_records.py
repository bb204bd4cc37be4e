"""Samples on their way into the page: what a record holds, and that packing loses and adds nothing."""

import base64
import json
import math
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from report_inputs import sample_row

from report.read import Run
from report.records import TEXT_LIMIT, Pool, pack, sample_record, stage_of, token_record
from report.sample_files import SampleIndex
from report.samples import PACKED_BYTES, browser_content, samples_section

QUICK = settings(derandomize=True, deadline=None, max_examples=100)


def record_of(**changes) -> dict:
    pool = Pool()
    record = sample_record(sample_row(1, 4, **changes), 0, 1, pool)
    return {name: pool.texts[value] if name in PLACES else value for name, value in record.items()}


PLACES = {"about", "prompt", "response", "program", "error", "scan"}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def unpack(packed: str):
    return json.loads(zlib.decompress(base64.b64decode(packed)))


@given(
    st.text(st.characters())
    | anything.filter(lambda x: x == x and "inf" not in str(x) and "nan" not in str(x))
)
@QUICK
def test_what_is_packed_comes_out_and_looks_like_nothing(content):
    """Letters, digits and three signs: it can end no element and begin none."""
    packed = pack(content)
    assert unpack(packed) == content or isinstance(content, dict)
    assert set(packed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def test_a_record_says_what_the_sample_was():
    record = record_of(advantage=-0.25, ref_kl=1.5, parts={"functional": 0.8})
    assert record["program"] == record["response"] == sample_row(1, 4)["program"]
    assert (record["stage"], record["score"], record["passed"], record["tests"]) == ("passes", 0.804, 2, 3)
    assert (record["advantage"], record["kl"], record["parts"]) == (-0.25, 1.5, {"functional": 0.8})
    assert [run["passed"] for run in record["runs"]] == [True, True, False]
    assert record["taken"] == [0, len(record["program"])]


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=9))
@QUICK
def test_what_extract_took_is_marked_in_units_of_scripts(before, program, after, stub):
    """Scripts count a character beyond the first 65,536 as two; a stub is not in the answer."""
    row = {"program": stub + program, "response": before + program + after}
    record = record_of(**row, offset=len(before), given=len(stub))
    units = row["response"].encode("utf-16-le", "surrogatepass")
    start, end = record["taken"]
    assert units[2 * start : 2 * end].decode("utf-16-le", "surrogatepass") == program


def test_a_place_that_is_not_so_is_not_marked():
    for changes in ({"offset": 3}, {"offset": -1}, {"offset": None}, {"offset": "0"}, {"response": "other"}):
        assert "taken" not in record_of(**changes), changes


@given(st.dictionaries(st.sampled_from([*sample_row(1, 4), "advantage", "ref_kl", "parts"]), anything))
@QUICK
def test_whatever_a_record_holds_something_is_shown(changes):
    """Of earlier versions, of a reward function, of nobody knows what; scores that are no number are refused
    on reading."""
    row = {**sample_row(1, 4), **changes, "program": str(changes.get("program", "")), "score": 1.0}
    pool = Pool()
    record = sample_record(row, 0, 1, pool)
    assert unpack(pack([record, pool.texts]))[0]["program"] == record["program"]


@given(anything)
@QUICK
def test_whatever_a_verdict_holds_something_is_shown(value):
    names = (
        "stage",
        "passed",
        "num_tests",
        "error",
        "scan_reason",
        "sentinels",
        "tricks",
        "findings",
        "verdicts",
    )
    for name in names:
        for held in (value, [value], [{"line": value, "cwe": value, "status": value, "stdout": value}]):
            pack(record_of(verdict={name: held}))


def test_a_fault_and_a_reward_function_have_stages_of_their_own():
    assert stage_of(sample_row(1, 0, score=None, outcome=None, verdict=None)) == "not scored"
    assert stage_of(sample_row(1, 1, score=-3.5, outcome="mine", verdict={})) == "mine"
    assert stage_of(sample_row(1, 2, outcome=None, verdict={})) == "scored"


def test_numbers_that_are_none_are_left_out():
    record = record_of(advantage=math.nan, ref_kl=math.inf, score=math.nan)
    assert not {"advantage", "kl", "score"} & set(record)


def test_tricks_stand_among_the_findings():
    verdict = sample_row(1, 3)["verdict"] | {"tricks": [{"line": 3, "kind": "shell"}]}
    assert record_of(verdict=verdict)["findings"][-1] == {"line": 3, "id": "shell"}


def test_long_texts_are_cut_and_say_so():
    assert record_of(program="x" * (TEXT_LIMIT + 7))["program"].endswith("\n… 7 more characters")


def test_tokens_that_are_malformed_are_left_out():
    assert token_record({"tokens": ["a", 1]}) is None and token_record({}) is None
    kept = token_record({"tokens": ["a", "b"], "advantage": [1.0, math.nan], "value": [1.0], "kl": "no"})
    assert kept == {"tokens": ["a", "b"], "advantage": [1.0, None]}


def runs_with(tmp_path, rows) -> list[Run]:
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"".join(lines))
    places: dict[int, list[tuple[int, str]]] = {}
    offset = 0
    for row, line in zip(rows, lines, strict=True):
        places.setdefault(row["iteration"], []).append((offset, row["problem"]))
        offset += len(line)
    return [Run("run", [{"iteration": 1}], [], SampleIndex(path, places))]


def test_texts_are_kept_once(tmp_path):
    content = browser_content(runs_with(tmp_path, [sample_row(1, 4)] * 5), [])
    assert len(content["samples"]) == 5 and len(set(content["texts"])) == len(content["texts"])


def test_a_page_that_would_be_too_large_keeps_fewer_samples(tmp_path, monkeypatch):
    rows = [sample_row(i, k, program=f"{hash((i, k)):x}" * 30) for i in range(1, 9) for k in range(4)]
    runs = runs_with(tmp_path, rows)
    whole = samples_section(runs, [])
    assert "All 32 samples." in whole
    monkeypatch.setattr("report.samples.PACKED_BYTES", len(whole) // 4)
    small = samples_section(runs, [])
    assert len(small) < len(whole) and " of 32 samples" in small
    assert PACKED_BYTES < 15_000_000


def test_no_samples_no_section():
    assert samples_section([Run("run", [{"iteration": 0}])], []) == ""
