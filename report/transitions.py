"""Which way problems went: from the outcome of their best program at one visit to that at the next."""

import re
from collections import Counter
from collections.abc import Sequence

from report.curves import STAGE_COLOURS
from report.markup import number, text
from report.read import Run

_NAME = re.compile(r"transition/(.+)->(.+)", re.DOTALL)


def transitions_section(runs: Sequence[Run]) -> str:
    """A table per run, as HTML; of runs that met no problem twice a sentence; nothing where there is none."""
    body = "".join(_table(run, len(runs) > 1) for run in runs)
    return (
        '<section id="transitions"><h2>Stage transitions</h2><p>Of the problems whose best program had one '
        "outcome (row), how many had which at their next visit (column), over the whole run. To the right of "
        f"the diagonal is progress.</p>{body}</section>"
        if body
        else ""
    )


def transitions(run: Run) -> Counter[tuple[str, str]]:
    """(from, to) -> how many times, of all iterations."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in run.metrics:
        for name, value in row.items():
            if (found := _NAME.fullmatch(name)) and value > 0:
                counts[found[1], found[2]] += value
    return counts


def _table(run: Run, named: bool) -> str:
    title = f"<h3>{text(run.name)}</h3>" if named else ""
    counts = transitions(run)
    if not counts:
        return f"{title}<p>No problem of {text(run.name)} was met twice.</p>" if run.metrics[1:] else ""
    seen = {stage for pair in counts for stage in pair}
    order = [stage for stage in STAGE_COLOURS if stage in seen] + sorted(seen - set(STAGE_COLOURS))
    head = "".join(f'<th scope="col">{text(stage)}</th>' for stage in order)
    rows = ""
    for old in order:
        total = sum(counts[old, new] for new in order)
        cells = "".join(_cell(counts[old, new], total) for new in order)
        rows += f'<tr><th scope="row">{text(old)}</th>{cells}<td>{total:,}</td></tr>'
    return (
        f'{title}<div class="wide"><table class="transitions"><thead><tr><th scope="col">from \\ to</th>'
        f'{head}<th scope="col">visits</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(count: float, total: float) -> str:
    if not count:
        return "<td>–</td>"
    share = count / total
    percent = number(100 * share, "{:.0f}")
    return f'<td style="--share:{percent}%">{percent} % <small>{count:,}</small></td>'
