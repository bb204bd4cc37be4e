"""The page: sections in reading order, one file, nothing fetched from anywhere."""

import base64
import difflib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

from report import figures, panels
from report.about import about_section, tokenizer_note
from report.evaluation import evaluation_section, joined
from report.markup import details, text
from report.read import Evaluation, Run, read_evaluations, read_runs
from report.rows import ReportError
from report.samples import samples_section
from report.signs import signs_section
from report.summary import headline, overview, progress_table
from report.transitions import transitions_section

WEB = Path(__file__).parent / "web"
SCRIPTS = (
    "data",
    "filter",
    "python",
    "diff",
    "detail",
    "tokens",
    "across",
    "list",
    "browser",
    "plots",
    "start",
)
"""In the order in which they need each other; in the page they are one script."""

_PARTS = (
    ("evaluation", "Evaluation"),
    ("samples", "Samples"),
    ("curves", "Learning curves"),
    ("transitions", "Stage transitions"),
    ("settings", "Settings"),
)


def write_report(path: Path, runs: Sequence[Path], evaluations: Sequence[Path] = ()) -> None:
    """Write the report of some run folders and evaluations (JSON of evaluate.py) as one HTML file.

    Raises:
        ReportError: a log is missing, empty or malformed, or there is nothing to report.
        OSError: no permission, no space. `path` is then what it was before.
    """
    if not runs and not evaluations:
        raise ReportError("nothing to report: name a run folder or an evaluation.json")
    page = _page(read_runs(runs), read_evaluations(evaluations))
    # A lone surrogate that no section has spelled out must not cost the whole report.
    _write(Path(path), page.encode("utf-8", "backslashreplace"))


def _page(runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> str:
    # One function: nothing of ours is a name of the page's, and nothing in the page is a name of ours.
    script = f"(() => {{\n{''.join(_web(f'{name}.js') for name in SCRIPTS)}}})();\n"
    contents = joined([part.content for part in evaluations])
    sections = [
        about_section([(run.name, run.metrics[-1]["iteration"], run.about) for run in runs]),
        overview(runs),
        headline(runs, contents[0] if contents else None),
        signs_section(runs, _notes(runs, evaluations)),
        *(evaluation_section(content, number) for number, content in enumerate(contents)),
        samples_section(runs, evaluations),
        _curves(runs),
        transitions_section(runs),
        _settings(runs),
    ]
    body = "\n".join(section for section in sections if section)
    return Template(_web("page.html")).substitute(
        title=text("Report: " + ", ".join(run.name for run in runs) if runs else "Evaluation"),
        style=_web("page.css") + _web("browser.css"),
        script=script,
        # Only this script may run: a second fence behind the escaping.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        nav=_nav(body),
        body=body,
    )


def _nav(body: str) -> str:
    """Links to the sections that are there."""
    links = (f'<a href="#{name}">{title}</a>' for name, title in _PARTS if f'<section id="{name}">' in body)
    return f'<nav aria-label="Sections">{"".join(links)}</nav>'


def _web(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _notes(runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> list[str]:
    """What holds for the report as a whole."""
    tokenizers = tokenizer_note([(run.name, run.about) for run in runs])
    return [*([tokenizers] if tokenizers else []), *(note for part in evaluations for note in part.notes)]


def _curves(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    groups = (
        ("Outcomes", figures.panel_figures(panels.OUTCOMES, runs)),
        ("Reward and length", figures.panel_figures(panels.REWARDS, runs) + figures.stage_figures(runs)),
        ("Policy and critic", figures.panel_figures(panels.POLICY, runs) + figures.outcome_figures(runs)),
        ("Speed", figures.panel_figures(panels.SPEED, runs) + figures.phase_figures(runs)),
    )
    shown = "".join(
        f'<h3>{title}</h3><div class="figures">{"".join(figures)}</div>'
        for title, figures in groups
        if figures
    )
    shown += figures.not_logged(runs)
    legend = figures.run_legend(runs)
    legend = f'<div class="runs">{legend}</div>' if legend else ""
    return f'<section id="curves"><h2>Learning curves</h2>{legend}{shown}{progress_table(runs)}</section>'


def _settings(runs: Sequence[Run]) -> str:
    """The settings of every run, and how they differ from the first one's."""
    shown = ""
    for run in runs:
        if run.config:
            shown += details(f"{text(run.name)}: config.yaml", f"<pre>{text(run.config)}</pre>")
        if run is not runs[0] and run.config != runs[0].config:
            names = f"{text(run.name)} against {text(runs[0].name)}"
            shown += details(f"{names}: what differs", f"<pre>{text(_difference(runs[0], run))}</pre>")
    return f'<section id="settings"><h2>Settings</h2>{shown}</section>' if shown else ""


def _difference(first: Run, other: Run) -> str:
    lines = difflib.unified_diff(first.config.splitlines(), other.config.splitlines(), n=0, lineterm="")
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _write(path: Path, content: bytes) -> None:
    """Under a temporary name first: a reader sees the old report or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0600 would keep the report from everybody else
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
