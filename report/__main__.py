"""`python -m report RUN... [--evaluation FILE]... [--out FILE]`: the report of runs that exist."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from entry import prepare
from report import ReportError, write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; returns 0, or 2 after an error, told in one line."""
    parser = argparse.ArgumentParser(prog="python -m report", description="One HTML file about runs.")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folder of train.py ppo")
    parser.add_argument(
        "--evaluation",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="JSON of evaluate.py --out; the samples beside it are shown, too; may be given several times",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: report.html in the run's folder; of several, here"
    )
    given = parser.parse_args(arguments)
    alone = given.runs[0] if len(given.runs) == 1 else Path()
    out = given.out or alone / "report.html"
    try:
        write_report(out, given.runs, given.evaluation)
    except ReportError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or out}: {(error.strerror or str(error)).lower()}")
    print(f"written: {out}")
    return 0


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    prepare()
    sys.exit(main())
