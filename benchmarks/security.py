"""What Bandit finds of weaknesses that are known to be there, by family.

    python benchmarks/security.py securityeval.jsonl --json result.json

The file is your copy of SecurityEval, or rows like its own: ID ("CWE-089_...": the labelled weakness), Prompt
(code that a model completes), Insecure_code. Nothing of it is written to the result but counts. Programs are
scanned, never run.

    programs    with a label of this family
    findings    in how many of them Bandit finds anything at all
    medium      ... anything of severity MEDIUM or HIGH, which is what R_sec charges by default
    own         ... that is not in the prompt already
    family      ... of the labelled family
    number      ... with the labelled CWE number
    tricks      in how many the check of calls that Bandit does not see finds anything
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # not this folder: it has a reward.py of its own
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from reward import Analyser, RewardError, Scan
from reward.cwe import FAMILIES, OTHER, family
from reward.security import charged, mark_given

COLUMNS = ("programs", "findings", "medium", "own", "family", "number", "tricks")


def main() -> int:
    """Print the table; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="JSONL with ID, Prompt and Insecure_code")
    parser.add_argument("--json", type=Path, help="file to write the counts to")
    arguments = parser.parse_args()
    try:
        counts = measure(arguments.file)
    except (RewardError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(counts))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(counts, indent=2) + "\n")
    return 0


def measure(path: Path) -> dict[str, Any]:
    """Counts per family and in all, and how many programs could not be scanned."""
    families: dict[str, Counter[str]] = {name: Counter() for name in (*FAMILIES, OTHER)}
    statuses: Counter[str] = Counter()
    with Analyser() as analyser:
        for cwe, prompt, code in read(path):
            scan = analyser.scan(code)
            statuses[scan.status] += 1
            found = mark_given(scan.findings, code, analyser.given(prompt))
            families[family(cwe)] += counts_of(cwe, scan, found)
    total = sum(families.values(), Counter[str]())
    rows = {name: {column: found[column] for column in COLUMNS} for name, found in families.items()}
    return {"families": rows, "all": {column: total[column] for column in COLUMNS}, "scans": dict(statuses)}


def counts_of(cwe: int, scan: Scan, found: tuple[Any, ...]) -> Counter[str]:
    """One program's row, of zeros and ones."""
    own = charged(found, "LOW")
    return Counter(
        programs=1,
        findings=bool(found),
        medium=bool(charged(scan.findings, "MEDIUM")),
        own=bool(own),
        family=any(family(finding.cwe) == family(cwe) for finding in own),
        number=any(finding.cwe == cwe for finding in own),
        tricks=bool(scan.tricks),
    )


def read(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """(labelled CWE, prompt, program). RewardError names file and line."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            label = re.match(r"CWE-(\d+)", row["ID"])
            if label is None:
                raise KeyError("ID")
            yield int(label[1]), row["Prompt"], row["Insecure_code"].encode()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RewardError(
                f"{path}:{number}: not a row with ID, Prompt, Insecure_code ({error})"
            ) from None


def table(counts: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| family | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, row in {**counts["families"], "all": counts["all"]}.items():
        lines.append(f"| {name} | " + " | ".join(str(row[column]) for column in COLUMNS) + " |")
    scans = ", ".join(f"{count} {status}" for status, count in counts["scans"].items())
    return "\n".join([*lines, f"\nScans: {scans}."])


if __name__ == "__main__":
    sys.exit(main())
