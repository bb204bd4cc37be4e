"""A picture of a report, as README shows it: its head, and its sample browser with one sample open.

    python benchmarks/report_picture.py runs/demo/report.html --out docs/report.png

Needs Chromium.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.chromium import BROWSER, Page, chromium  # noqa: E402

WIDTH, HEIGHT = 900, 1000  # of a view, in pixels
GAP = 16
BESIDE = (
    "<body style='margin: 0; display: flex; gap: {gap}px'><img src='head.png'><img src='samples.png'></body>"
)


def main() -> None:
    """Open the report, take both views, take one of the two side by side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="a report.html")
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"), help="the image")
    given = parser.parse_args()
    if BROWSER is None:
        sys.exit("no Chromium: install it (Debian: chromium)")
    if not given.report.is_file():
        sys.exit(f"no report {given.report}: train.py demo writes runs/demo/report.html")
    with chromium() as page, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        views_of(page, given.report, folder)
        (folder / "beside.html").write_text(BESIDE.format(gap=GAP))
        page.look(width=2 * WIDTH + GAP, height=HEIGHT)
        page.open(folder / "beside.html")
        page.picture(given.out)
    print(f"{given.out}: {given.out.stat().st_size / 1000:.0f} kB")


def views_of(page: Page, report: Path, folder: Path) -> None:
    """head.png and samples.png: the report's top, and its samples with the second of them open."""
    page.look(width=WIDTH, height=HEIGHT)
    page.open(report)
    page.run("document.documentElement.style.scrollbarWidth = 'none'")
    page.picture(folder / "head.png")
    page.run("document.getElementById('samples').scrollIntoView()")
    page.press("j")
    page.picture(folder / "samples.png")


if __name__ == "__main__":
    main()
