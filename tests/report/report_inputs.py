"""Synthetic run folders and evaluations, shaped like the real ones."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STAGES = ("syntax_error", "parses", "runs", "prints", "passes")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def metrics_row(iteration: int, iterations: int) -> dict[str, Any]:
    """A run that learns: every number a fixed function of the iteration."""
    done = iteration / iterations
    wave = 0.03 * math.sin(iteration * 1.7)
    shares = [0.4 - 0.3 * done, 0.2 - 0.1 * done, 0.1, 0.2 - 0.1 * done, 0.1 + 0.5 * done]
    row: dict[str, Any] = {"iteration": iteration}
    if iteration % 4 == 0:
        row |= {
            "validation/syntax": 0.6 + 0.3 * done,
            "validation/any_pass": 0.1 + 0.5 * done,
            "validation/all_pass": 0.05 + 0.4 * math.sin(2 * done),
            "validation/reward": 0.4 + 0.3 * done,
            "validation/length": 60 + 10 * done,
        }
    if iteration == 0:
        return row
    row |= {
        "reward/mean": 0.4 + 0.3 * done + wave,
        "reward/std": 0.2,
        "rollout/samples": 16,
        "rollout/faults": 0,
        "rollout/tokens": 900 + iteration,
        "rollout/ended": 0.95,
        "rollout/length": 55.0,
        "rollout/program_length": 60 + 10 * done + 50 * wave,
        "rollout/truncated_prompts": 0,
        "reward/functional": 0.3 + 0.4 * done + wave,
        "reward/partial_weight": done,
        "reward/security": 0.6 + 0.3 * done,
        "reward/parses": 0.6 + 0.3 * done + wave,
        "reward/any_pass": 0.1 + 0.5 * done + wave,
        "reward/all_pass": 0.05 + 0.35 * done + wave,
    }
    kinds = ("constant_output", "hardcoded", "silent", "early_exit", "introspection", "short_wrong", "any")
    row |= {f"hack/{kind}": 0.01 + wave / 20 for kind in kinds} | {"hack/alarm": 0.0}
    for stage, place in zip(STAGES, (-2, -1, 0, 1, 2), strict=True):
        row |= {f"outcome/{stage}/advantage": place * (1 - done), f"outcome/{stage}/approx_kl": 0.01}
        row[f"outcome/{stage}/clip_frac"] = 0.1 + wave
    row |= {f"stage/{stage}": share for stage, share in zip(STAGES, shares, strict=True)}
    return row | {
        "ppo/ref_kl": 8 * done,
        "ppo/kl_coef": 0.05 * (1 + 0.2 * done),
        "ppo/explained_var": -3.0 if iteration == 1 else 0.7 * done,
        "ppo/learning_rate": 1e-4,
        "ppo/approx_kl": 0.01 + wave / 10,
        "ppo/clip_frac": 0.1 + wave,
        "ppo/entropy": 1.2 - 0.6 * done,
        "ppo/value_error": 0.1 - 0.05 * done,
        "ppo/advantage_size": 0.3 - 0.1 * done,
        "ppo/skipped_steps": 0,
        "ppo/optimizer_steps": 4,
    }


def timing_row(iteration: int) -> dict[str, Any]:
    phases = {"rollout": 2.0, "score": 1.0 + iteration % 3, "forward": 0.3, "update": 1.5}
    if iteration == 0:
        phases = {}
    if iteration % 4 == 0:
        phases["validate"] = 3.0
    row: dict[str, Any] = {"iteration": iteration}
    row |= {f"seconds/{name}": value for name, value in phases.items()}
    return row | {
        "seconds/iteration": sum(phases.values()),
        "tokens_per_second": iteration and 200.0 + iteration,
    }


def sample_row(iteration: int, index: int, **changes: Any) -> dict[str, Any]:
    """One sample; its stage and score follow from its index."""
    stage = index % len(STAGES)
    passed = 2 if stage == 4 else 0
    program = f"# sample {iteration}.{index}\nn = int(input())\nprint(n + {index})\n"
    verdicts = [
        {
            "status": "ok" if stage > 1 else "crash",
            "passed": test < passed,
            "stdout_size": 2,
            "stdout_sha256": "0" * 64,
            "stdout": f"{test}\n" if stage > 1 else "",
            "error": "" if stage > 1 else "NameError: name 'm' is not defined",
            "input": f"{test}0\n",
            "expected": f"{test}1\n",
        }
        for test in range(3)
    ]
    finding = {"line": 2, "id": "B307", "severity": "MEDIUM", "confidence": "HIGH", "cwe": 78}
    verdict = {
        "stage": STAGES[stage],
        "passed": passed,
        "num_tests": 3,
        "compiles": stage > 0,
        "error": "" if stage else "SyntaxError: '(' was never closed (line 2)",
        "verdicts": verdicts if stage else [],
        "scan": "ok" if stage else "syntax",
        "scan_reason": "",
        "findings": [finding] if index == 3 else [],
    }
    row = {
        "iteration": iteration,
        "problem": f"tiny/rl/{index}",
        "problem_text": "Read n. Print a number.",
        "prompt": "### Instruction:\nRead n. Print a number.\n### Response:\n",
        "response": program,
        "program": program,
        "offset": 0,
        "ended": index != 6,
        "score": 0.2 * stage + index / 1000,
        "outcome": STAGES[stage],
        "verdict": verdict,
    }
    return row | changes


def write_run(folder: Path, iterations: int = 16, samples: int = 16) -> Path:
    folder.mkdir(parents=True)
    write_lines(folder / "metrics.jsonl", [metrics_row(i, iterations) for i in range(iterations + 1)])
    write_lines(folder / "timing.jsonl", [timing_row(i) for i in range(iterations + 1)])
    rows = [sample_row(i, k) for i in range(1, iterations + 1) for k in range(samples)]
    write_lines(folder / "samples.jsonl", rows)
    (folder / "config.yaml").write_text("ppo:\n  seed: 1\n  learning_rate: 0.0001\n", encoding="utf-8")
    return folder


def evaluation_model(name: str, level: float) -> dict[str, Any]:
    def interval(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": 0.9 * mean, "high": 1.08 * mean}

    return {
        "name": name,
        "checkpoint": f"runs/{name}",
        "syntax": interval(0.5 + level),
        "any_pass": interval(0.1234 + level),
        "all_pass": interval(0.0567 + level),
        "reward": interval(0.4321 + level),
        "reward_pass_fraction": interval(0.3987 + level),
        "length": interval(61.27),
        "stages": dict(zip(STAGES, (0.4 - level, 0.2, 0.05, 0.2, 0.15 + level), strict=True)),
        "faults": 0,
    }


def write_evaluation(path: Path, **changes: Any) -> Path:
    content = {
        "problems": 200,
        "source": "tiny/heldout",
        "samples": 4,
        "temperature": 0.7,
        "seed": 1,
        "models": [evaluation_model("SFT", 0.0), evaluation_model("PPO", 0.25)],
    }
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path
