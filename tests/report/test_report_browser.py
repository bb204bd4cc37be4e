"""The page in a browser: filters open what matches, keys lead where they say, texts stay texts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_inputs import evaluation_model, sample_row, write_evaluation, write_lines, write_run

from benchmarks.chromium import BROWSER, Page, chromium
from report import write_report

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium) to look at the page"
)
HOSTILE = '</script><img src=x onerror="window.hacked = 1">\x00\u202e\ud800 ${x}'
SHOWN = '</script><img src=x onerror="window.hacked = 1">⟨U+0000⟩⟨U+202E⟩⟨U+D800⟩ ${x}'
FAILING = "n = int(input())\nprint(1 / 0)\n"

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
UNNAMED = """[...document.querySelectorAll("input, select, button, [tabindex]")]
  .filter((e) => e.checkVisibility())
  .filter((e) => !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label")))
  .map((e) => e.outerHTML)"""
# A function of the tests that fills in a control of the page, and what opens all filters again.
SET = """globalThis.set = (id, value) => {
  const control = document.getElementById(id);
  control.value = value;
  control.dispatchEvent(new Event(id === "words" ? "input" : "change"));
}; null"""
FRESH = """for (const id of ["source", "iteration", "problem", "verdict", "sign", "words"]) set(id, "");
set("order", "sampled");
for (let b; (b = document.querySelector("#stages [aria-pressed=true]")); ) b.click();
document.activeElement.blur();
document.getElementById("list").scrollTop = 0;
document.getElementById("list").dispatchEvent(new Event("scroll"));
document.querySelector(".row").click();"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    """A report of one run and two models, in a browser; every test begins with all filters open."""
    folder = tmp_path_factory.mktemp("report")
    report(folder)
    with chromium() as opened:
        opened.look()
        opened.open(folder / "report.html")
        opened.run(SET)
        yield opened


@pytest.fixture(autouse=True)
def fresh(page: Page) -> Iterator[None]:
    page.run(FRESH)
    yield
    assert page.complaints == [] and page.run("window.hacked") is None


def report(folder: Path) -> None:
    """Four iterations of seven samples: one of each stage, one that raises, one that is hostile."""
    run = write_run(folder / "run", iterations=4, samples=0)
    rows = []
    for iteration in range(1, 5):
        for index in range(5):
            rows.append(sample_row(iteration, index, problem=f"p{index}", advantage=index - 2.0))
        raised = sample_row(
            iteration, 1, problem="raises", program=FAILING, response=f"Sure:\n{FAILING}Done."
        )
        raised["offset"], raised["given"] = 6, 0
        raised["verdict"]["verdicts"][1] |= {"error": "ZeroDivisionError: division by zero", "error_line": 2}
        hostile = sample_row(
            iteration, 3, problem=HOSTILE, program=HOSTILE, response=HOSTILE, problem_text=HOSTILE
        )
        hostile["verdict"]["verdicts"][0] |= {
            "stdout": f"1\n{HOSTILE}\n3\n",
            "expected": "1\n2\n3\n",
            "input": HOSTILE,
        }
        rows += [raised, hostile]
    write_lines(run / "samples.jsonl", rows)
    signals = {
        "tokens": ["n", " =", HOSTILE],
        "advantage": [0.5, -1.0, 0.0],
        "value": [0.1, 0.2, 0.3],
        "kl": [0, 0, 1],
    }
    write_lines(run / "tokens.jsonl", [{"iteration": 1, "sample": 0, **signals}])
    write_evaluation(folder / "e.json", models=[evaluation_model("SFT", 0.0), evaluation_model("PPO", 0.2)])
    asked = {"SFT": "Solve:", "PPO": "<user> Solve:"}
    models = [
        {"model": m, **sample_row(1, i, problem=f"p{i}", prompt=asked[m])} for m in asked for i in range(5)
    ]
    write_lines(folder / "e_evaluation_samples.jsonl", models)
    write_report(folder / "report.html", [run], [folder / "e.json"])


def found(page: Page) -> str:
    return page.run("document.getElementById('found').textContent")


def listed(page: Page) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('.row')].map((row) => row.querySelector('.problem').textContent)"
    )


def detail(page: Page) -> str:
    return page.run("document.getElementById('detail').textContent")


def test_all_samples_are_there_and_the_first_is_open(page):
    assert found(page) == "38 of 38 samples"
    assert "p0" in detail(page) and "SyntaxError: '(' was never closed (line 2)" in detail(page)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"iteration": "3"}, 7),
        ({"source": "1"}, 5),
        ({"verdict": "some"}, 6),
        ({"verdict": "finding"}, 10),
        ({"sign": "up"}, 8),
        ({"sign": "zero", "iteration": "2"}, 1),
        ({"words": "zerodivision"}, 4),
        ({"words": "SURE:", "source": "0"}, 4),
        ({"words": "HACKED"}, 4),
    ],
)
def test_a_filter_shows_what_matches_with_the_first_opened(page, changes, count):
    for name, value in changes.items():
        page.run(f"set({json.dumps(name)}, {json.dumps(value)})")
    assert found(page) == f"{count} of 38 samples"
    names = listed(page)
    assert len(names) == count and detail(page).startswith(names[0])


def test_stages_add_up_and_are_counted_under_the_other_filters(page):
    page.run("set('iteration', '1')")
    counts = page.run("[...document.querySelectorAll('#stages button')].map((b) => b.textContent)")
    assert counts == ["syntax_error 1", "parses 2", "runs 1", "prints 2", "passes 1"]
    for stage, total in (("passes", 1), ("parses", 3)):
        page.run(f"document.querySelector('#stages [data-stage={stage}]').click()")
        assert found(page) == f"{total} of 38 samples"
    assert page.run("document.activeElement.dataset.stage") == "parses"


def test_nothing_that_matches_is_told(page):
    page.run("set('words', 'no program says this')")
    assert found(page) == "0 of 38 samples" and "Loosen a filter" in detail(page)


def test_a_problem_is_chosen_by_name_whatever_the_name_is(page):
    names = page.run("[...document.getElementById('problem').options].map((o) => o.textContent)")
    assert names == ["all", SHOWN, "p0", "p1", "p2", "p3", "p4", "raises"]
    page.run("set('problem', '0')")
    assert found(page) == "4 of 38 samples" and detail(page).startswith(SHOWN)


def test_keys_go_through_samples_and_over_iterations_and_models(page):
    page.press("j", "j", "k")
    assert "p1run, iteration 1" in detail(page)
    page.run("document.getElementById('list').focus()")
    page.press("ArrowDown")
    assert "p2run, iteration 1" in detail(page)
    for where in (
        "run, iteration 2",
        "run, iteration 3",
        "run, iteration 4",
        "SFT, evaluation",
        "PPO, evaluation",
    ):
        page.press("ArrowRight")
        assert detail(page).startswith(f"p2{where}")
    page.press("ArrowRight", "ArrowLeft")
    assert detail(page).startswith("p2SFT, evaluation")
    page.press("End")
    assert detail(page).startswith("p4PPO, evaluation")
    assert page.run("document.querySelector('.row[aria-selected=true]').id") == "row-37"
    assert page.run("document.getElementById('list').getAttribute('aria-activedescendant')") == "row-37"


def test_a_slash_searches_and_letters_are_typed_there(page):
    page.press("/", "j", "k")
    assert page.run("[document.activeElement.id, document.activeElement.value]") == ["words", "jk"]
    page.press("Escape")
    assert page.run("document.activeElement.id") == ""


def test_the_failing_line_the_answer_and_the_comparison_are_shown(page):
    page.run("set('words', 'zerodivision')")
    assert page.run("document.querySelector('.failed').textContent").startswith(
        "print(1 / 0)← ZeroDivisionError"
    )
    assert page.run("document.querySelector('mark').textContent") == FAILING
    page.run("set('words', ''); set('problem', '0')")
    lines = page.run(
        "[...document.querySelectorAll('.diff')[0].children].map((l) => [l.className, l.textContent])"
    )
    assert lines == [["same", "  1\n"], ["missing", "− 2\n"], ["extra", f"+ {SHOWN}\n"], ["same", "  3\n"]]
    assert page.run("document.querySelector('.text').textContent") == SHOWN


def test_findings_name_their_weakness(page):
    page.run("set('verdict', 'finding')")
    assert "CWE-78" in detail(page) and "B307, CWE-78" in page.run(
        "document.querySelector('.failed').textContent"
    )


def test_tokens_are_coloured_by_what_is_asked_for(page):
    spans = "[...document.querySelectorAll('.tokens span')]"
    assert page.run(f"{spans}.map((s) => s.textContent)") == ["n", " =", SHOWN]
    assert page.run(f"{spans}.map((s) => s.style.getPropertyValue('--share'))") == ["28%", "55%", "0%"]
    assert page.run(f"{spans}.map((s) => s.className)") == ["", "below", ""]
    page.run(
        "[...document.querySelectorAll('#detail button')].find((b) => b.textContent.startsWith('KL')).click()"
    )
    assert page.run(f"{spans}.map((s) => s.style.getPropertyValue('--share'))") == ["0%", "0%", "55%"]
    page.press("j")
    assert page.run("document.querySelector('.tokens')") is None


def test_the_same_problem_stands_side_by_side(page):
    columns = page.run("[...document.querySelectorAll('.column h5')].map((h) => h.textContent)")
    assert columns == [*(f"run, iteration {i}" for i in range(1, 5)), "SFT, evaluation", "PPO, evaluation"]
    assert "Not all of these answers are to the same prompt" in detail(page)
    page.run("document.querySelectorAll('.column')[4].querySelector('button').click()")
    assert detail(page).startswith("p0SFT, evaluation")


def test_curves_have_values_under_the_pointer_and_under_keys(page):
    drawing = "document.querySelector('svg[data-plots]')"
    page.run(f"{drawing}.scrollIntoView({{block: 'center'}})")
    left, top, width, height = page.run(
        f"(({{x, y, width, height}}) => [x, y, width, height])({drawing}.getBoundingClientRect())"
    )
    page.move(left + 0.95 * width, top + height / 2)
    tip = "document.querySelector('.tip:not([hidden])')"
    assert page.run(f"{tip}.textContent").startswith("iteration 4All-P: training rollouts: ")
    page.run(f"{drawing}.focus()")
    page.press("ArrowLeft")
    assert page.run(f"{tip}.textContent").startswith("iteration 3")
    page.run(f"{drawing}.blur()")
    assert page.run(tip) is None


@pytest.mark.parametrize("dark", [False, True])
def test_texts_stand_out_and_everything_has_a_name(page, dark):
    """Contrast of 4.5 : 1 for text in both colour schemes (on the bars of stages, whose colours are those of
    curves, 3 : 1); a name for whatever takes the focus."""
    page.look(dark=dark)
    assert page.run("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    page.run("set('words', 'zerodivision')")
    assert page.run(CONTRAST) == []
    assert page.run(UNNAMED) == []
    page.look()


def test_a_phone_scrolls_in_one_direction(page):
    page.look(width=390, height=844, phone=True)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.look()


@pytest.mark.parametrize("width", [390, 700, 900, 1280])
def test_values_stay_on_their_cards(page, width):
    page.look(width=width)
    sizes = page.run("[...document.querySelectorAll('.card')].map((c) => [c.scrollWidth, c.clientWidth])")
    assert sizes and all(needed <= given for needed, given in sizes)
    page.look()
