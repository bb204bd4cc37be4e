"""What the worst texts of programs and models cost where the trainer reads them: the slowest call of each.

    python benchmarks/hostile_text.py [--texts 1000]

Texts are made from seeds and a few dozen shapes that are hard on parsers and patterns. Nothing is run.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":  # not this folder: its reward.py would be imported
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data.prompts import extract
from reward import Analyser, Scan, judge, parse_policy
from reward.traceback import compiler_line, failed_lines
from sandbox import Report, Run, Status

_PRIME = 2**61 - 1  # multiples of it have one hash


def numbered(size: int, frame: str, item: Callable[[int], str]) -> bytes:
    """A value in JSON of about `size` bytes: numbered items in a frame."""
    count = max(1, (size - len(frame)) // (len(item(size // 25)) + 2))
    return frame.format(", ".join(map(item, range(count)))).encode()


# By size in bytes: what a program may print.
OUTPUTS: dict[str, Callable[[int], bytes]] = {
    "digits": lambda size: b"1" * size,
    "digits and a letter": lambda size: b"1" * (size - 1) + b"x",
    "a long fraction": lambda size: b"0." + b"0" * (size - 3) + b"1",
    "a large exponent": lambda size: b"1e" + b"9" * (size - 2),
    "points": lambda size: b"1." * (size // 2),
    "signs": lambda size: b"+-" * (size // 2),
    "exponents": lambda size: b"1e" * (size // 2),
    "commas": lambda size: b"," * size,
    "numbers between commas": lambda size: b"1.0," * (size // 4),
    "brackets": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "short lines": lambda size: b"1\n" * (size // 2),
    "words": lambda size: b"1 " * (size // 2),
    "blanks": lambda size: b" " * size,
    "blank lines": lambda size: b"\n" * size,
    "blanks at every end": lambda size: (b" " * 99 + b"\n") * (size // 100),
    "zero bytes": lambda size: bytes(size),
    "unreadable": lambda size: b"\xff" * size,
    "surrogates": lambda size: b"\xed\xa0\x80" * (size // 3),
    "digits of other scripts": lambda size: "١".encode() * (size // 2),
    "addresses": lambda size: b"0x" * (size // 2),
    "integers of one hash": lambda size: numbered(size, '{{"$set": [{}]}}', lambda k: str(_PRIME * k)),
    "keys of one hash": lambda size: numbered(size, '{{"$dict": [{}]}}', lambda k: f"[{_PRIME * k}, 0]"),
    "sets in a set": lambda size: numbered(size, '{{"$set": [{}]}}', lambda k: f'{{"$frozenset": [{k}]}}'),
    "keys": lambda size: numbered(size, "{{{}}}", lambda k: f'"{k}": 1.5'),
    "nested numbers": lambda size: numbered(size, "[" * 90 + "{}" + "]" * 90, lambda k: "1e308"),
    "one integer in base 16": lambda size: b'{"$int": "' + b"f" * (size - 12) + b'"}',
    "frames": lambda size: b'  File "program.py", line 1, in f\n' * (size // 34),
}

# By size in characters: what a program may be.
SOURCES: dict[str, Callable[[int], str]] = {
    "sum of texts": lambda size: ("''+" * 390 + "''\n") * (size // 1173),
    "one sum": lambda size: "''+" * (size // 3) + "''",
    "texts side by side": lambda size: "x=" + "'' " * (size // 3 - 1),
    "a list": lambda size: "x=[" + "a," * (size // 2 - 2) + "]",
    "a dictionary": lambda size: "x={" + "'':''," * (size // 6 - 1) + "}",
    "calls": lambda size: "x=[" + "f()," * (size // 4 - 1) + "]",
    "evals": lambda size: "x=[" + "eval()," * (size // 7 - 1) + "]",
    "calls in calls": lambda size: "f(" * 90 + ")" * 90 + "\n",
    "attributes": lambda size: ("a" + ".b" * 390 + "\n") * (size // 782),
    "short lines": lambda size: "x\n" * (size // 2),
    "blank lines": lambda size: "\n" * size,
    "one line": lambda size: "x;" * (size // 2),
    "nested": lambda size: "(" * (size // 2) + ")" * (size // 2),
    "indented": lambda size: "".join(" " * i + "if 1:\n" for i in range(min(99, size))) + " " * 99 + "x",
    "comparisons": lambda size: "a" + "<a" * (size // 2 - 1),
    "digits": lambda size: "1" * size,
    "hexadecimal": lambda size: "x=0x" + "f" * (size - 4),
    "a text": lambda size: "x='" + "a" * (size - 4) + "'",
    "braces in a text": lambda size: "f'" + "{a}" * (size // 3 - 1) + "'",
    "zero bytes": lambda size: "\0" * size,
    "surrogates": lambda size: "x='" + "\ud800" * (size // 3 - 2) + "'",
    "signs": lambda size: "x=" + "-" * (size - 3) + "1",
    "an encoding": lambda size: "# -*- coding: " + "x" * (size - 14),
    "imports": lambda size: "import os\n" * (size // 10),
    "not": lambda size: "x=" + "not " * (size // 4 - 2) + "1",
}
_FENCES = (
    "```",
    "```python\n",
    "```\n",
    "~~~",
    "`",
    "\n",
    " ",
    "[PYTHON]",
    "<think>",
    "</think>",
    "### Instruction:",
)
_WORDS = (
    "x",
    "1",
    "'",
    '"',
    "(",
    ")",
    "eval",
    "import",
    "\0",
    "\ud800",
    "é",
    "٣",
    "\u2028",
    "\x0c",
    "\r",
    "#",
    "\t",
)


def hostile_sources(size: int) -> Iterator[str]:
    """Every source at its largest."""
    return (make(size) for make in SOURCES.values())


def hostile_texts(count: int, draw: random.Random) -> list[str]:
    """Answers of a model: shapes of all kinds, whole and broken, in and between fences. Mostly small."""
    makers = list(SOURCES.values())
    outputs = list(OUTPUTS.values())

    def piece() -> str:
        size = 1 << draw.randint(4, 10)
        kind = draw.randrange(4)
        if kind == 0:
            return draw.choice(makers)(size)
        if kind == 1:
            return draw.choice(outputs)(size).decode("utf-8", "surrogateescape")
        if kind == 2:
            return f"import sys\nsys.stdout.buffer.write({draw.choice(outputs)(size)!r})\n"
        return "".join(draw.choices(_WORDS, k=draw.randint(1, 60)))

    def text() -> str:
        parts = [draw.choice((draw.choice(_FENCES), piece())) for _ in range(draw.randint(1, 6))]
        return "".join(parts)[: 8 << draw.randint(4, 10)]

    return [text() for _ in range(count)]


def slowest(function: Callable[[str], object], texts: list[tuple[str, str]]) -> tuple[float, str]:
    """CPU seconds of the slowest call, and the name of its text."""
    times = []
    for name, text in texts:
        start = time.process_time()
        function(text)
        times.append((time.process_time() - start, name))
    return max(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=1000, help="made at random, beside the worst shapes")
    count = parser.parse_args().texts
    random_ = [("random", text) for text in hostile_texts(count, random.Random(0))]
    sources = [(name, make(64 << 10)) for name, make in SOURCES.items()] + random_
    outputs = [(name, make(256 << 10).decode("latin-1")) for name, make in OUTPUTS.items()] + random_
    errors = [(name, text[:8192]) for name, text in outputs]
    matches = {name: parse_policy(name).matches for name in ("lines", "tokens", "float", "json")}

    def compare(text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        for match in matches.values():
            match(data, data[:-1] + b"9")

    def outcome(text: str) -> None:
        run = Run(Status.CRASH, text.encode("utf-8", "surrogatepass"), text[:8192])
        judge(Report(True, None, (run,)), [b"1"], matches["float"], Scan("ok"))

    with Analyser() as analyser:
        calls: list[tuple[str, Callable[[str], object], list[tuple[str, str]]]] = [
            ("extract", extract, sources),
            ("compare", compare, outputs),
            ("failed_lines", failed_lines, errors),
            ("compiler_line", compiler_line, errors),
            ("judge", outcome, outputs),
        ]
        for name, function, texts in calls:
            seconds, worst = slowest(function, texts)
            print(f"{name:14} {1000 * seconds:9.2f} ms CPU  {worst}")
        waits = []
        for name, text in sources:
            start = time.perf_counter()
            scan = analyser.scan(text.encode("utf-8", "surrogatepass"))
            waits.append((time.perf_counter() - start, f"{name}: {scan.status} {scan.reason}".rstrip()))
        seconds, worst = max(waits)
        print(f"{'scan':14} {1000 * seconds:9.2f} ms wall {worst}")


if __name__ == "__main__":
    main()
