"""The page as a whole: one file, safe, the same every time, written whole or not at all."""

import ast
import base64
import hashlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_inputs import evaluation_model, write_evaluation, write_run

from report import ReportError, write_report
from report.__main__ import main

ROOT = Path(__file__).parents[2]
VOID = {"meta", "br", "img", "link", "input", "hr"}
SCRIPTS = 2  # ours, and the packed samples, which are none


class Balance(HTMLParser):
    """Fails on a tag that is closed without having been opened; `open` holds what was never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        assert not any(name.startswith("on") for name, _ in attrs), "event handlers are not ours"
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(page: str) -> Balance:
    balance = Balance()
    balance.feed(page)
    balance.close()
    return balance


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_run(folder / "one")
    write_run(folder / "two", iterations=8)
    write_evaluation(folder / "evaluation.json")
    return folder


@pytest.fixture(scope="module")
def page(inputs) -> str:
    write_report(inputs / "both.html", [inputs / "one", inputs / "two"], [inputs / "evaluation.json"])
    return (inputs / "both.html").read_text(encoding="utf-8")


@pytest.fixture
def no_drawing(monkeypatch):
    monkeypatch.setattr("report.figures.draw", lambda plots, key: "<svg></svg>")


def test_the_page_is_well_formed_and_ids_are_unique(page):
    balance = parse(page)
    assert balance.open == []
    assert len(balance.ids) == len(set(balance.ids))


def test_nothing_is_fetched(page):
    without_namespaces = re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    assert "://" not in without_namespaces
    assert not re.search(r"\bsrc=|@import|url\((?!#)", without_namespaces)
    assert set(re.findall(r'href="(.)', without_namespaces)) == {"#"}


def test_every_reference_within_the_page_has_its_target(page):
    targets = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page))
    assert targets and {a or b for a, b in targets} <= set(parse(page).ids)


def test_the_policy_allows_exactly_the_script_that_is_there(page):
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert parse(page).scripts == SCRIPTS


def test_all_sections_are_there(page):
    for section in ("evaluation", "curves", "samples", "transitions", "settings"):
        assert f'<section id="{section}">' in page


def test_the_command_gives_the_same_bytes_in_another_process(inputs, page):
    """Another hash seed, another working directory, a user's matplotlibrc."""
    (inputs / "matplotlibrc").write_text("axes.facecolor: red\nlines.linewidth: 9\n")
    arguments = [str(inputs / "one"), str(inputs / "two"), "--evaluation", str(inputs / "evaluation.json")]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "report", *arguments],
        cwd=inputs,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "written: report.html\n", "")
    assert (inputs / "report.html").read_text(encoding="utf-8") == page


def test_only_the_standard_library_matplotlib_and_yaml_are_imported():
    """And `entry`, which is the standard library's alone (tests/test_borders.py)."""
    imported = set()
    for file in (ROOT / "report").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in foreign} == {"report", "evaluation", "matplotlib", "yaml", "entry"}
    assert "matplotlib.pyplot" not in foreign


def test_a_failed_write_leaves_the_old_report_and_no_litter(inputs, tmp_path, no_drawing, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    target = tmp_path / "report.html"
    target.write_text("old")
    monkeypatch.setattr("report.page.os.replace", refuse)
    with pytest.raises(OSError):
        write_report(target, [inputs / "one"])
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_others_may_read_the_report(inputs, tmp_path, no_drawing):
    mask = os.umask(0o022)
    try:
        write_report(tmp_path / "new" / "report.html", [inputs / "two"])
    finally:
        os.umask(mask)
    assert (tmp_path / "new" / "report.html").stat().st_mode & 0o777 == 0o644


def test_an_evaluation_alone_is_a_report(inputs, tmp_path):
    write_report(tmp_path / "report.html", [], [inputs / "evaluation.json"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "All-P %" in page and 'id="curves"' not in page


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ReportError, match="nothing to report"):
        write_report(tmp_path / "report.html", [])


def test_evaluations_of_the_same_problems_are_one_table(inputs, tmp_path):
    before = write_evaluation(tmp_path / "before.json", models=[evaluation_model("before", 0.0)])
    after = write_evaluation(tmp_path / "after.json", models=[evaluation_model("after", 0.1)])
    other = write_evaluation(tmp_path / "other.json", seed=2, models=[evaluation_model("other", 0.1)])
    write_report(tmp_path / "report.html", [], [before, after, other])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    first, second = page.split('<section id="evaluation-2">')
    assert "before → after, evaluation" in first and 'scope="row" title="runs/after"' in first
    assert 'scope="row" title="runs/other"' not in first and 'scope="row" title="runs/other"' in second


def test_settings_that_differ_are_shown(inputs, tmp_path, no_drawing):
    config = inputs / "two" / "config.yaml"
    before = config.read_text()
    config.write_text(before.replace("seed: 1", "seed: 2"))
    write_report(tmp_path / "report.html", [inputs / "one", inputs / "two"])
    config.write_text(before)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "two against one: what differs" in page
    assert "<pre>-  seed: 1\n+  seed: 2</pre>" in page


def test_the_command_tells_errors_in_one_line_and_exits_with_2(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"error: {tmp_path / 'nowhere'}: no metrics.jsonl there\n"


def test_the_command_writes_into_the_folder_of_a_single_run(tmp_path, capsys, no_drawing):
    run = write_run(tmp_path / "run", iterations=2)
    assert main([str(run)]) == 0
    assert capsys.readouterr().out == f"written: {run / 'report.html'}\n"
    assert (run / "report.html").is_file()


def test_the_command_tells_of_a_place_that_cannot_be_written(tmp_path, capsys, no_drawing):
    run = write_run(tmp_path / "run", iterations=2)
    assert main([str(run), "--out", str(run / "metrics.jsonl" / "report.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_updates_are_shown_by_outcome(page):
    """One figure per run, with the outcomes of it."""
    figures = re.findall(r"<b>Updates by outcome: (\w+)</b>.*?</figure>", page, flags=re.S)
    assert figures == ["one", "two"]
