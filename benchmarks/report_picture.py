"""A picture of a report, as README shows it: its head, and its sample browser with one sample open.

    python benchmarks/report_picture.py runs/demo/report.html --out docs/report.png

Needs Chromium, and Pillow (a dependency of matplotlib), which puts the two views side by side.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.chromium import BROWSER, Page, chromium  # noqa: E402

WIDTH, HEIGHT = 900, 1000  # of a view, in pixels
GAP = 16
COLOURS = 64  # of the palette: text and flat areas need no more, and the file is a third as large


def main() -> None:
    """Open the report, take both views, write them as one image."""
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
    with chromium() as page, tempfile.TemporaryDirectory() as folder:
        page.look(width=WIDTH, height=HEIGHT)
        page.open(given.report)
        page.run("document.documentElement.style.scrollbarWidth = 'none'")
        views = [Path(folder) / "head.png", Path(folder) / "samples.png"]
        page.picture(views[0])
        show_a_sample(page)
        page.picture(views[1])
        beside(views).save(given.out, optimize=True)
    print(f"{given.out}: {given.out.stat().st_size / 1000:.0f} kB")


def show_a_sample(page: Page) -> None:
    """Scroll to the sample browser, and open the first that it shows."""
    page.run("document.getElementById('samples').scrollIntoView()")
    page.press("j")


def beside(views: list[Path]) -> Image.Image:
    """The views next to each other."""
    whole = Image.new("RGB", (len(views) * (WIDTH + GAP) - GAP, HEIGHT), "white")
    for i, view in enumerate(views):
        with Image.open(view) as image:
            whole.paste(image.convert("RGB"), (i * (WIDTH + GAP), 0))
    return whole.quantize(COLOURS)


if __name__ == "__main__":
    main()
