"""The sample browser: which samples are shown, and what is said of each."""

import html
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from report_inputs import sample_row

from report.read import Run
from report.samples import PROGRAM_LIMIT, SHOWN, TESTS, pick, samples_section


def section(*rows, iteration: int = 1) -> str:
    return samples_section([Run("run", [{"iteration": 1}], [], {iteration: list(rows)}, "")])


def shown(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def test_no_samples_no_section():
    assert samples_section([Run("run", [{"iteration": 0}], [], {}, "")]) == ""


def test_program_and_verdicts_are_shown():
    row = sample_row(1, 4)
    page = section(row)
    assert f'<pre class="program">{row["program"]}</pre>' in page
    assert "2/3 tests" in page and "tiny/rl/4" in page and ">0.804<" in page
    tests = re.findall(r"<tr><td>(\d)</td><td class=\"(yes|no)\">", page)
    assert tests == [("1", "yes"), ("2", "yes"), ("3", "no")]
    assert "Whole response" not in page


def test_what_was_asked_given_and_expected_is_shown_beside_what_came():
    page = section(sample_row(1, 4))
    asked = "### Instruction:\nRead n. Print a number.\n### Response:\n"
    assert f"<summary>Prompt</summary><pre>{asked}</pre>" in page
    assert re.findall(r"<th>(.*?)</th>", page) == ["test", "passed", "status", "input", "expected", "output"]
    cells = [re.findall(r"<code>(\d+)\n</code>", row) for row in re.findall(r"<tr><td>.*?</tr>", page, re.S)]
    assert cells == [["00", "01", "0"], ["10", "11", "1"], ["20", "21", "2"]]


def test_records_that_say_less_show_less():
    """Of earlier versions, or of a reward function."""
    row = sample_row(1, 4)
    del row["prompt"]
    for verdict in row["verdict"]["verdicts"]:
        del verdict["input"], verdict["expected"]
    page = section(row)
    assert "Prompt" not in page and "2/3 tests" in page
    assert re.findall(r"<th>(.*?)</th>", page) == ["test", "passed", "status", "output"]


def test_what_was_around_the_program_can_be_read():
    page = section(sample_row(1, 4, response="Sure!\n```python\nprint(1)\n```", program="print(1)\n"))
    assert "Sure!" in page and "Whole response" in page


def test_errors_findings_and_cut_responses_are_told():
    page = shown(section(sample_row(1, 0), sample_row(1, 1), sample_row(1, 3), sample_row(1, 6)))
    assert "SyntaxError: '(' was never closed (line 2)" in page
    assert "NameError: name 'm' is not defined" in page
    assert "1 finding" in page and "B307" in page and "MEDIUM" in page
    assert "cut at the limit" in page


def test_a_fault_and_a_reward_function_have_no_verdict():
    fault = sample_row(1, 0, score=None, outcome=None, verdict=None)
    own = sample_row(1, 1, score=-3.5, outcome="mine", verdict={})
    plain = sample_row(1, 2, score=0.25, outcome=None, verdict={"verdicts": "free", "findings": [1, 2]})
    page = section(fault, own, plain)
    assert re.findall(r'class="sample" data-stage="([^"]*)"', page) == ["scored", "mine", "not scored"]
    assert ">−3.500<" in page and "tests<" not in page


def test_signs_of_playing_the_reward_are_told():
    row = sample_row(1, 2)
    row["verdict"]["sentinels"] = ["constant_output", "<b>"]
    page = section(row)
    assert '<span class="warn">constant output, &lt;b&gt;</span>' in page
    row["verdict"]["sentinels"] = None  # nobody looked
    assert "constant output" not in section(row)


def test_an_empty_program_is_told():
    assert "Empty program." in section(sample_row(1, 0, program="", response=""))


def test_long_things_are_cut_and_say_so():
    verdict = sample_row(1, 4)["verdict"]
    verdict["verdicts"] = verdict["verdicts"] * 5
    page = section(sample_row(1, 4, program="x" * (PROGRAM_LIMIT + 7), response="", verdict=verdict))
    assert "… 7 more characters" in page
    assert f"{15 - TESTS} more tests." in page


def test_the_filter_counts_the_stages_in_order():
    page = section(*(sample_row(1, i) for i in (4, 4, 0)))
    buttons = re.findall(r"<button[^>]*>(.*?)</button>", page)
    assert [re.sub(r"<[^>]*>", "", button) for button in buttons] == ["all 3", "syntax_error 1", "passes 2"]
    assert "<button" not in section(sample_row(1, 4))


def test_the_last_iteration_is_open_and_the_best_is_named():
    samples = {i: [sample_row(i, 0)] for i in (1, 4, 9)}
    run = Run("run", [{"iteration": 4, "validation/all_pass": 0.5}], [], samples, "")
    page = samples_section([run])
    assert re.findall(r"<details( open)? class=\"iteration\"", page) == ["", "", " open"]
    assert "<b>Iteration 4</b> (best on validation): 1 of 1 samples, mean score 0.000" in page


scores = st.lists(st.none() | st.floats(-10, 10), max_size=60)


@given(scores)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_the_pick_spans_best_to_worst_without_repeats(scores):
    rows = [{"score": score, "place": place} for place, score in enumerate(scores)]
    picked = pick(rows)
    assert picked == pick(rows)
    places = [row["place"] for row in picked]
    assert len(set(places)) == len(places) == min(len(rows), SHOWN)
    known = [row["score"] for row in picked if row["score"] is not None]
    assert known == sorted(known, reverse=True)
    assert [row["score"] for row in picked][: len(known)] == known  # unscored ones last
    if any(score is not None for score in scores):
        assert known[0] == max(score for score in scores if score is not None)
        if None not in scores:
            assert known[-1] == min(scores)
