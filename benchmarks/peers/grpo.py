"""GRPO by TRL with this project's reward: a few steps, and every reward that TRL used beside Scorer's.

    sh benchmarks/peers/setup.sh FOLDER
    FOLDER/trl_last/bin/python benchmarks/peers/grpo.py --model HuggingFaceTB/SmolLM2-135M-Instruct \\
        --json benchmarks/results/grpo.json

Runs in TRL's own venv. The model must have a chat template. The data are the embedded problems as `train.py
prepare --to trl` writes them. Ends with status 1 where a reward is another than Scorer gives to the answer.
"""

import argparse
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder

from datasets import load_dataset  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from cli.other_trainers import write_for  # noqa: E402
from data import tiny_split  # noqa: E402
from data.answers import answer_in  # noqa: E402
from reward import Scorer  # noqa: E402
from reward.adapters.shared import problem, text_of  # noqa: E402
from reward.adapters.trl import coderl_reward  # noqa: E402

GENERATIONS = 4  # answers to a problem
TOKENS = 48


def main() -> int:
    """Train, compare, print; the exit status."""
    given = _arguments()
    seen: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        log = train(given, Path(folder), seen)
    apart = differences(seen)
    rewards = [row["reward"] for row in seen]
    found = {
        "trl": version("trl"),
        "transformers": version("transformers"),
        "steps": given.steps,
        "answers": len(seen),
        "distinct rewards": len(set(rewards)),
        "mean reward by step": [round(row["reward"], 4) for row in log if "reward" in row],
        "largest difference to Scorer": apart,
    }
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(apart > 0 or not seen)


def train(given: argparse.Namespace, folder: Path, seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """TRL's own loop; its log. `seen` gets every answer with the reward that TRL was given."""
    write_for("trl", folder / "problems.jsonl", tiny_split("rl")[: 2 * given.steps])

    def watched(completions: Any, ground_truth: list[str], **columns: Any) -> list[float | None]:
        rewards = coderl_reward(completions, ground_truth, **columns)
        answers = [text_of(completion) for completion in completions]
        for truth, answer, reward in zip(ground_truth, answers, rewards, strict=True):
            seen.append({"truth": truth, "answer": answer, "reward": reward})
        return rewards

    config = GRPOConfig(
        output_dir=str(folder / "run"),
        max_steps=given.steps,
        per_device_train_batch_size=GENERATIONS,
        num_generations=GENERATIONS,
        max_completion_length=TOKENS,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=given.cpu,
        seed=1,
    )
    data = load_dataset("json", data_files=str(folder / "problems.jsonl"), split="train")
    trainer = GRPOTrainer(given.model, reward_funcs=[watched], train_dataset=data, args=config)
    trainer.train()
    return trainer.state.log_history


def differences(seen: list[dict[str, Any]]) -> float:
    """The largest gap between a reward and what a scorer of one's own gives to the same program."""
    tasks = [problem(row["truth"]) for row in seen]
    pairs = [(task, answer_in(row["answer"], task).program) for task, row in zip(tasks, seen, strict=True)]
    with Scorer() as scorer:
        scored = scorer.score(pairs)
    gaps = [
        0.0 if row["reward"] is None or own is None else abs(row["reward"] - own.total)
        for row, own in zip(seen, scored, strict=True)
    ]
    return max(gaps, default=0.0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder or hub name of a chat model")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="on the CPU, even if there is a GPU")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
