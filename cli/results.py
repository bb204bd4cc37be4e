"""An evaluation for the reader: tables and sentences on the terminal, and as Markdown beside the JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Column, Table

from evaluation.tables import Table as Cells
from evaluation.tables import markdown, statements, tables


def print_results(results: Mapping[str, Any]) -> None:
    """Print the tables, then what they say; where there is no terminal, as wide as it needs."""
    console = RichConsole()
    if not console.is_terminal:
        console = RichConsole(width=140)
    for cells in tables(results):
        console.print(_view(cells))
    for line in statements(results):
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)


def write_markdown(path: Path, results: Mapping[str, Any]) -> None:
    """Write the same as Markdown."""
    # Names of folders may be no UTF-8.
    path.write_bytes(markdown(results).encode("utf-8", "backslashreplace"))


def _view(cells: Cells) -> Table:
    first, *others = cells.header
    view = Table(
        Column(escape(first), overflow="fold"), title=escape(cells.title), caption=escape(cells.note)
    )
    for heading in others:
        view.add_column(escape(heading), justify="right", overflow="fold")
    for name, *values in cells.rows:
        # An interval goes below its mean: the table is that much narrower.
        view.add_row(escape(name), *(escape(value.replace(" [", "\n[")) for value in values))
    return view
