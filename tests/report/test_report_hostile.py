"""Whatever the texts in logs and evaluations are, the page is made of the same elements, and they are text.

The strongest thing that can be said of escaping: the tags and attributes of a page with hostile texts are
those of the page with harmless ones in the same places.
"""

import base64
import json
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from report_inputs import evaluation_model, metrics_row, sample_row, write_evaluation, write_lines, write_run

from report import write_report

HOSTILE = "</script></pre></style><img src=x onerror=alert(1)>\"'&\x00\u202e\x1b[31m"
pieces = st.sampled_from(
    [
        "</script>",
        "<script>",
        "<!--",
        "-->",
        "]]>",
        "<svg onload=x>",
        '" onmouseover="x',
        "'",
        "&lt;",
        "&",
        "$body",
        "${x}",
        "\x00",
        "\x1b",
        "\u202e",
        "\u2028",
        "\ud800",
        "\udfff",
        "\ufeff",
        "{",
        "}",
        "\\",
        "\r\n",
        "`",
        "javascript:x",
    ]
)
texts = st.lists(pieces | st.text(st.characters(), max_size=6), max_size=6).map("".join)


class Shape(HTMLParser):
    """Tags with the names of their attributes, in order; what the packed samples are; who would run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[Any] = []
        self.packed = ""
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.tags.append((tag, *sorted(names)))
        self._inside = names.get("id", "") if tag == "script" else ""

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")
        self._inside = ""

    def handle_comment(self, data):
        self.tags.append("comment")

    def handle_data(self, data):
        if self._inside == "packed-samples":
            self.packed += data


def hostile_run(folder: Path, name: str, value: str) -> tuple[Path, Path]:
    """A run and an evaluation with `value` in every field that holds a text, and in names of metrics."""
    run = folder / name
    if not run.is_dir():
        write_run(run, iterations=2, samples=1)
    stage = f"h{value}"  # never one of ours, and never empty
    finding = dict.fromkeys(("line", "id", "severity", "confidence", "cwe"), value)
    test = dict.fromkeys(("status", "stdout", "error", "input", "expected"), value) | {"passed": False}
    verdict = {
        **dict.fromkeys(("error", "scan_reason", "passed", "num_tests"), value),
        "stage": stage,
        "sentinels": [value],
        "tricks": [{"line": 1, "kind": value}],
        "verdicts": [test],
        "findings": [finding],
    }
    strings = dict.fromkeys(("program", "response", "problem", "problem_text", "prompt"), value)
    sample = sample_row(1, 0, **strings, verdict=verdict, parts={value: 1.0})
    write_lines(run / "samples.jsonl", [sample, {**sample, "iteration": 2}])
    write_lines(run / "tokens.jsonl", [{"iteration": 1, "sample": 0, "tokens": [value], "advantage": [1.0]}])
    moved = stage.replace(
        "->", ""
    )  # an arrow in a name of an outcome cannot be told from the one between two
    names = (f"stage/{stage}", f"outcome/{stage}/advantage", f"transition/{moved}->{moved}")
    write_lines(run / "metrics.jsonl", [{**metrics_row(i, 2), **dict.fromkeys(names, 1.0)} for i in range(3)])
    write_lines(run / "timing.jsonl", [{"iteration": 1, f"seconds/{stage}": 1.0}])
    (run / "config.yaml").write_text(f"ppo:\n  sft: {json.dumps(value)}\n", encoding="utf-8")
    saved = run / "checkpoints" / "iteration-000002"
    saved.mkdir(parents=True, exist_ok=True)
    (saved / "state.json").write_text(json.dumps({"versions": {value: value}}), encoding="utf-8")
    model = evaluation_model(f"m{value}", 0.1) | {
        "checkpoint": value,
        "faults": f"1{value}",
        "stages": {stage: 1.0},
    }
    evaluation = write_evaluation(folder / "e.json", source=value, seed=value, models=[model, model])
    write_lines(folder / "e_evaluation_samples.jsonl", [{"model": model["name"], **sample}])
    return run, evaluation


def shape_of(folder: Path, value: str, name: str = "run") -> tuple[str, Shape]:
    run, evaluation = hostile_run(folder, name, value)
    write_report(folder / "report.html", [run], [evaluation])
    page = (folder / "report.html").read_bytes().decode("utf-8")
    return page, Shape(page)


@pytest.fixture(scope="module", autouse=True)
def no_drawing():
    """What figures make of names is in test_report_curves.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("report.figures.draw", lambda plots, key: "<svg></svg>")
        yield


@pytest.fixture(scope="module")
def harmless(tmp_path_factory) -> Shape:
    return shape_of(tmp_path_factory.mktemp("harmless"), "x")[1]


@given(texts)
@example(HOSTILE)
@example("")
@settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_text_makes_or_ends_an_element(tmp_path, harmless, value):
    page, shape = shape_of(tmp_path, value)
    assert shape.tags == harmless.tags
    assert "\x00" not in page and "\u202e" not in page and "\x1b" not in page
    content = json.loads(zlib.decompress(base64.b64decode(shape.packed)))
    assert value in content["texts"]  # the samples lose nothing: the script spells hidden characters out


def test_the_name_of_a_folder_is_a_text_too(tmp_path, harmless):
    page, shape = shape_of(tmp_path, "x", name="<img src=x onerror=alert(1)>")
    assert shape.tags == harmless.tags and "&lt;img src=x onerror=alert(1)&gt;" in page


def test_no_script_of_ours_makes_markup_of_a_text():
    """Nor asks for anything, nor keeps anything."""
    web = Path(write_report.__code__.co_filename).parent / "web"
    forbidden = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "DOMParser",
    )
    forbidden += (
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "import(",
        "localStorage",
        "srcdoc",
        "createContextualFragment",
    )
    for file in web.glob("*.js"):
        script = file.read_text(encoding="utf-8")
        assert not [word for word in forbidden if word in script], file.name
        assert "</" not in script and "<!--" not in script, file.name  # it stands in a script element
