"""The page: sections in reading order, one file, nothing fetched from anywhere."""

import base64
import difflib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

from report import panels
from report.evaluation import evaluation_section
from report.markup import details, text
from report.read import ReportError, Row, Run, read_evaluation, read_runs
from report.samples import samples_section
from report.signs import signs_section
from report.summary import headline, overview, progress_table

_HERE = Path(__file__).parent


def write_report(path: Path, runs: Sequence[Path], evaluation: Path | None = None) -> None:
    """Write the report of some run folders, and of an evaluation.json, as one HTML file.

    Raises:
        ReportError: a log is missing, empty or malformed, or there is nothing to report.
        OSError: no permission, no space. `path` is then what it was before.
    """
    if not runs and evaluation is None:
        raise ReportError("nothing to report: name a run folder or an evaluation.json")
    loaded = read_runs(runs)
    content = None if evaluation is None else read_evaluation(evaluation)
    # A lone surrogate that no section has spelled out must not cost the whole report.
    _write(Path(path), _page(loaded, content).encode("utf-8", "backslashreplace"))


def _page(runs: Sequence[Run], evaluation: Row | None) -> str:
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    sections = [
        overview(runs),
        headline(runs, evaluation),
        signs_section(runs),
        evaluation_section(evaluation) if evaluation else "",
        _curves(runs),
        samples_section(runs),
        _settings(runs),
    ]
    return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        title=text("Report: " + ", ".join(run.name for run in runs) if runs else "Evaluation"),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        # Only this script may run: a second fence behind the escaping.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        body="\n".join(section for section in sections if section),
    )


def _curves(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    groups = (
        ("Outcomes", panels.figures(panels.OUTCOMES, runs)),
        ("Reward and length", panels.figures(panels.REWARDS, runs) + panels.stage_figures(runs)),
        ("Policy and critic", panels.figures(panels.POLICY, runs) + panels.outcome_figures(runs)),
        ("Speed", panels.figures(panels.SPEED, runs) + panels.phase_figures(runs)),
    )
    shown = "".join(
        f'<h3>{title}</h3><div class="figures">{"".join(figures)}</div>'
        for title, figures in groups
        if figures
    )
    legend = panels.run_legend(runs)
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
