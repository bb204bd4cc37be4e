"""Where the time of an iteration goes on 1, 8 and 64 GPUs: measured rates times arithmetic.

    python benchmarks/scaling.py --rates benchmarks/results/gpu.json

Nothing is trained. The rates are those of `benchmarks/gpu.py` on one card: how fast it copies and multiplies,
and which share of that decoding, scoring and update reach. Prints a Markdown table for docs/scaling.md.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMPT, RESPONSE, EPOCHS = 1024, 512, 2
ROWS = 64  # decoded side by side
BYTES = 2  # of a weight in 16 bits
PASSES = 2  # of scoring: the policy's and the reference's
PRODUCTS = {
    "forward": 2,
    "update": 4,
}  # operations for each weight and token; frozen weights take no gradient


@dataclass(frozen=True)
class Shape:
    """A model, as far as it matters here."""

    name: str
    weights: float
    cache: int
    """Bytes of keys and values of a token"""


SHAPES = (
    Shape("1.3B", 1.28e9, 24 * 2 * 2048 * BYTES),
    Shape("7B, grouped heads", 7e9, 32 * 2 * 1024 * BYTES),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=Path, default=Path("benchmarks/results/gpu.json"))
    rates = json.loads(parser.parse_args().rates.read_text())
    print("| model | GPUs | responses | rollout s | scoring s | update s | sum | programs a second and GPU |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        for gpus, responses in ((1, 64), (8, 64), (8, 512), (64, 4096)):
            phases = iteration(shape, rates, responses / gpus)
            total = sum(phases.values())
            seconds = " | ".join(f"{x:.1f}" for x in (*phases.values(), total))
            print(f"| {shape.name} | {gpus} | {responses} | {seconds} | {responses / gpus / total:.1f} |")


def iteration(shape: Shape, rates: dict[str, Any], responses: float) -> dict[str, float]:
    """Seconds by phase of so many responses on one GPU, all of full length; sandbox, all-reduce left out."""
    best = rates["rows"][-1]  # with recomputed activations, which leave room for large micro-batches
    copy, product = rates["copy_gb_per_s"] * 1e9, rates["matrix_tflops"] * 1e12
    copy *= rates["decoding"]["graph"]["share of copy rate"]
    speed = {phase: product * best[f"{phase} share of matrix rate"] for phase in PRODUCTS}
    tokens, rows = responses * (PROMPT + RESPONSE), min(responses, ROWS)
    read = BYTES * shape.weights + rows * shape.cache * (PROMPT + RESPONSE / 2)  # bytes of a step, on average
    prompts = PRODUCTS["forward"] * shape.weights * rows * PROMPT / speed["forward"]
    return {
        "rollout": responses / rows * (RESPONSE * read / copy + prompts),
        "scoring": PASSES * PRODUCTS["forward"] * shape.weights * tokens / speed["forward"],
        "update": EPOCHS * PRODUCTS["update"] * shape.weights * tokens / speed["update"],
    }


if __name__ == "__main__":
    main()
