"""How many tokens an update goes over for each that it needs: texts as they come, closed up, and sorted.

    python benchmarks/padding.py RUN --model MODEL --json benchmarks/results/padding.json

The answers of a run are dealt into minibatches and micro-batches as an update does. Counted is what rows of a
micro-batch have, over the tokens of their texts: prompts and responses padded apart, each to the longest;
closed up (models/rows.py); and closed up with texts of like length together (ppo/buffer.py).
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import write  # noqa: E402
from models.storage import load_tokenizer  # noqa: E402

SIZES = ((16, 4), (32, 8), (32, 32))
DRAWS = 5

Text = tuple[int, int]
"""Tokens of a prompt and of its response"""


def main() -> None:
    """Count, print a Markdown table, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a PPO run")
    parser.add_argument("--model", type=Path, required=True, help="folder of its tokenizer")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    given = parser.parse_args()
    iterations = texts(given.run, given.model)
    counts = [count(iterations, *sizes) for sizes in SIZES]
    print("| minibatch | micro-batch | padded apart | closed up | and sorted |\n|---|---|---|---|---|")
    for row in counts:
        print("| " + " | ".join(f"{x:.2f}" if isinstance(x, float) else str(x) for x in row.values()) + " |")
    if given.json:
        write(given.json, {"run": given.run.name, "iterations": len(iterations), "tokens_per_token": counts})


def texts(run: Path, model: Path) -> list[list[Text]]:
    """The lengths of a run's texts, by iteration."""
    tokenizer = load_tokenizer(model)

    def tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False).input_ids)

    found: dict[int, list[Text]] = {}
    for line in (run / "samples.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        found.setdefault(row["iteration"], []).append((tokens(row["prompt"]), tokens(row["response"]) + 1))
    return list(found.values())


def count(iterations: Sequence[Sequence[Text]], minibatch: int, micro: int) -> dict[str, Any]:
    """Tokens gone over for each that is needed."""
    draw = random.Random(0)
    needed = apart = closed = alike = 0
    for rows in iterations:
        for _ in range(DRAWS):
            for some in pieces(draw.sample(rows, len(rows)), minibatch):
                needed += sum(map(width, some))
                for part in pieces(some, micro):
                    apart += len(part) * (max(p for p, _ in part) + max(r for _, r in part))
                    closed += len(part) * max(map(width, part))
                alike += sum(len(part) * width(part[-1]) for part in pieces(sorted(some, key=width), micro))
    sizes = {"minibatch": minibatch, "micro_batch": micro}
    return sizes | {
        "apart": round(apart / needed, 3),
        "closed_up": round(closed / needed, 3),
        "and_sorted": round(alike / needed, 3),
    }


def width(text: Text) -> int:
    """Of a row: nothing follows a response's last token, so it is not read."""
    return sum(text) - 1


def pieces(rows: Sequence[Text], size: int) -> Iterator[Sequence[Text]]:
    """In their order, `size` at a time."""
    return (rows[i : i + size] for i in range(0, len(rows), size))


if __name__ == "__main__":
    main()
