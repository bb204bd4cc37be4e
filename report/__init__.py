"""One self-contained HTML file about runs: did training help, how did it go, what do the programs look like.

It reads run folders and evaluations and imports nothing of ours but the names of columns: a report can be
made of a folder that was copied from elsewhere, without torch. Every text in it (names, programs, errors) is
untrusted: `report.markup` is where it becomes HTML, and samples reach the page as data alone. The same inputs
give the same bytes.
"""

from report.page import write_report
from report.rows import ReportError

__all__ = ["ReportError", "write_report"]
