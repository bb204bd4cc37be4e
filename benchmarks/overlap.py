"""Wall seconds of sampling and scoring a rollout: programs run as their responses end, or all of them after.

    .venv/bin/python benchmarks/overlap.py --json benchmarks/results/overlap.json
    .venv/bin/python benchmarks/overlap.py --model DIR --prompts 16   # a real model, say SmolLM2-135M

The two ways take turns on the same responses, which are those of the embedded RL problems, sampled by one
thread. In the second set a share of the problems gets a loop without an end in place of its program: each
takes its time limit until it has overstayed too often. Nothing comes from a cache. Where cores are busy with
other things there is nothing to gain, so read the ratios, and those of a machine with nothing else to do.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # the project, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from benchmarks.runs import train_sft, write
from cli.problems import encode_all, prompt_template
from data import Problem
from data.tiny.corpus import tiny_split
from models.policy import Policy, frozen_policy
from models.precision import DeviceConfig, resolve_precision
from ppo.prompts import EncodedPrompt, PromptConfig
from ppo.rollout import sample_responses
from reward import Scorer
from sandbox import Limits

ENDLESS = "while True: pass\n"
MAX_TOKENS, TEMPERATURE = 64, 0.7
LIMITS = Limits(cpu_seconds=0.5)  # those of configs/tiny.yaml


def main() -> None:
    """Measure, print a Markdown table, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--endless", type=int, default=32, help="of the second set, one problem in so many")
    parser.add_argument("--model", type=Path, help="SFT model; else made under configs/tiny.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/overlap"), help="folder for that model")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = given.model or train_sft(given.out / "sft", 1)
    policy = frozen_policy(model, resolve_precision(DeviceConfig(device="cpu")))
    problems = tiny_split("rl")[: given.prompts]
    prompts = encode_all(problems, prompt_template(PromptConfig(), policy, model), 128)
    sets = {"as sampled": 0, f"1 in {given.endless} never ends": given.endless}
    found = {name: compare(policy, prompts, given.rounds, endless) for name, endless in sets.items()}
    print(table(found))
    if given.json:
        cores = len(os.sched_getaffinity(0))
        about = {"prompts": given.prompts, "rounds": given.rounds, "cores": cores, "threads": 1}
        write(given.json, {"model": given.model.name if given.model else "tiny", **about, "sets": found})


@dataclass
class Rollout:
    """One rollout after the other, some of the problems with a program without an end."""

    policy: Policy
    prompts: Sequence[EncodedPrompt]
    scorer: Scorer
    endless: int
    """One problem in so many; 0: none"""

    def __post_init__(self) -> None:
        self._endless = {p.problem.id for p in self.prompts[:: self.endless]} if self.endless else set()

    def __call__(self, seed: int) -> tuple[float, float, list[int | None]]:
        """Seconds until all are sampled, and from then until all are scored; the tests that each passed."""
        start = time.perf_counter()
        responses = sample_responses(
            self.policy,
            self.prompts,
            max_new_tokens=MAX_TOKENS,
            temperature=TEMPERATURE,
            batch_size=len(self.prompts),
            generator=torch.Generator().manual_seed(seed),
            on_ended=lambda problem, program: self.scorer.begin(problem, self.program(problem, program)),
        )
        sampled = time.perf_counter()
        pairs = [(problem, self.program(problem, program)) for problem, program in responses.pairs()]
        outcomes = self.scorer.outcomes(pairs)
        end = time.perf_counter()
        return sampled - start, end - sampled, [None if o is None else o.passed for o in outcomes]

    def program(self, problem: Problem, sampled: str) -> str:
        """What is run: the program that was sampled, or the loop in its place."""
        return ENDLESS if problem.id in self._endless else sampled


def compare(policy: Policy, prompts: Sequence[EncodedPrompt], rounds: int, endless: int) -> dict[str, Any]:
    """Seconds of both ways, round by round, after one that is left out."""
    seconds: dict[str, dict[str, list[float]]] = {}
    with (
        Scorer(limits=LIMITS, cache_size=0, overlap=True) as early,
        Scorer(limits=LIMITS, cache_size=0, overlap=False) as late,
    ):
        ways = {"overlap": early, "after": late}
        for number in range(rounds + 1):
            passed = []
            for way, scorer in ways.items():
                rollout, score, tests = Rollout(policy, prompts, scorer, endless)(number)
                passed.append(tests)
                if number:
                    found = seconds.setdefault(way, {"rollout": [], "score": []})
                    found["rollout"].append(round(rollout, 3))
                    found["score"].append(round(score, 3))
            assert passed[0] == passed[1], "the two ways scored differently"
    return {**seconds, "ratio": ratios(seconds["overlap"], seconds["after"])}


def ratios(overlap: dict[str, list[float]], after: dict[str, list[float]]) -> list[float]:
    """Seconds of the whole rollout, of the first way by the second, round by round."""
    sums = [map(sum, zip(way["rollout"], way["score"], strict=True)) for way in (overlap, after)]
    return [round(ours / theirs, 3) for ours, theirs in zip(*sums, strict=True)]


def table(found: dict[str, Any]) -> str:
    """Medians of both ways by phase, and the median of the ratios with their range."""
    lines = [
        "| programs | after: sampling + scoring, s | overlapped | ratio [all rounds] |",
        "|---|---|---|---|",
    ]
    for name, result in found.items():
        ways = [
            f"{median(result[way]['rollout']):.2f} + {median(result[way]['score']):.2f}"
            for way in ("after", "overlap")
        ]
        ratio: list[float] = result["ratio"]
        spread = f"{median(ratio):.2f} [{min(ratio):.2f}, {max(ratio):.2f}]"
        lines.append(f"| {name} | {ways[0]} | {ways[1]} | {spread} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
