"""What one PPO step costs: CPU seconds, wall clock and memory by phase, beside the least its products take.

    .venv/bin/python benchmarks/ppo_step.py --json benchmarks/results/ppo_step.json
    .venv/bin/python benchmarks/ppo_step.py --model DIR --steps 2   # a real model, say SmolLM2-135M-Instruct

The workload is that of benchmarks/workload.py (16 responses, four epochs of one minibatch, adapters of rank
16 on seven layers), run through `ppo.loop.train` with a scorer that costs nothing. Medians over the steps,
the first left out. One thread, unless --threads says otherwise. A machine that does other things too changes
seconds by tens of per cent: compare figures of one run only, and with other trainers by
benchmarks/peers/run.py.

Keys: `cpu.PHASE` and `wall.PHASE` in seconds, `rss.PHASE` the peak in GiB (`rss.imports`: before there is a
model), `floor.PHASE` in CPU seconds (benchmarks/floor.py), `tokens_per_second`: sampled, per CPU second of
rollout.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder: it has a reward.py of its own

import torch  # noqa: E402
from transformers.utils import logging  # noqa: E402

from benchmarks.floor import floor  # noqa: E402
from benchmarks.peers.meter import Meter, machine  # noqa: E402
from benchmarks.peers.task import BATCH, EPOCHS, KL_COEF, LEARNING_RATE, LORA, VALUE_COEF, Task, read  # noqa: E402
from benchmarks.peers.task import reward as worth  # noqa: E402
from data import Problem, TestCase  # noqa: E402
from models.adapter import TuneConfig  # noqa: E402
from models.policy import Policy, build_policy  # noqa: E402
from models.precision import Precision  # noqa: E402
from ppo.config import PPOConfig  # noqa: E402
from ppo.loop import train  # noqa: E402
from ppo.prompts import EncodedPrompt  # noqa: E402
from ppo.rollout import PlainScore  # noqa: E402
from ppo.run.log import RunLog  # noqa: E402
from ppo.run.state import fresh_state  # noqa: E402


class Stub:
    """A scorer without programs to run."""

    def __call__(self, pairs: Sequence[tuple[Problem, str]], iteration: int) -> list[PlainScore]:
        """A number for each program."""
        return [PlainScore(worth(program)) for _, program in pairs]

    def begin(self, problem: Problem, program: str) -> None:
        """There is nothing to run."""

    def objective(self, iteration: int) -> str:
        """It never changes."""
        return "stub"

    def state_dict(self) -> dict[str, Any]:
        """It has none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """It has none."""


class Silent:
    """A display that shows nothing."""

    def phase(self, name: str, total: int) -> None:
        """See ppo.run.log.Display."""

    def advance(self, done: int) -> None:
        """See ppo.run.log.Display."""

    def say(self, text: str) -> None:
        """See ppo.run.log.Display."""

    def iteration(self, number: int, total: int, metrics: Mapping[str, float], seconds: float) -> None:
        """See ppo.run.log.Display."""


class MeteredLog(RunLog):
    """The log of a run, which tells the meter of each phase; between them the loop does "other" things."""

    def __init__(self, folder: Path, iterations: int, meter: Meter) -> None:
        super().__init__(folder, Silent(), iterations)
        self.meter = meter

    @contextmanager
    def phase(self, name: str, total: int = 0) -> Iterator[None]:
        """See RunLog."""
        self.meter.mark("other")
        with super().phase(name, total):
            yield
        self.meter.mark(name)


def measure(task: Task, meter: Meter, *, steps: int, micro: int) -> dict[str, Any]:
    """Run so many steps of the workload; figures by phase, and the floor."""
    precision = Precision(torch.device("cpu"), torch.float32)
    tune = TuneConfig(
        lora_rank=LORA["r"], lora_alpha=LORA["lora_alpha"], lora_targets=tuple(LORA["target_modules"])
    )
    policy = build_policy(task.model, tune, precision, seed=1)
    policy.stop_ids = [policy.network.config.vocab_size]  # no token: responses are of full length
    config = PPOConfig(
        iterations=steps,
        prompts_per_iteration=BATCH,
        max_new_tokens=task.response,
        temperature=1.0,
        rollout_batch=BATCH,
        kl_coef=KL_COEF,
        epochs=EPOCHS,
        minibatch_size=BATCH,
        micro_batch_size=micro,
        value_coef=VALUE_COEF,
        learning_rate=LEARNING_RATE,
        eval_every=0,
        save_every=steps,
    )
    problem = Problem("library", "", (TestCase("", ""),))
    prompts = [EncodedPrompt(problem, tuple(ids), False, "") for ids in task.prompts[: steps * BATCH]]
    begun = 0

    def between_steps() -> bool:
        nonlocal begun
        if begun:
            meter.mark("other")
            meter.end()
        if begun < steps:
            meter.begin()
            begun += 1
        return False

    with tempfile.TemporaryDirectory() as folder:
        log = MeteredLog(Path(folder), steps, meter)
        train(
            config,
            policy,
            fresh_state(policy, prompts, config),
            scorer=Stub(),
            evaluator=lambda policy: {},
            log=log,
            checkpoints=Path(folder) / "checkpoints",
            stop=between_steps,
        )
        log.close()
    figures = meter.report(BATCH * task.response)
    least = floor(policy.network, LORA["r"], len(task.prompts[0]), task.response, micro=micro, batch=BATCH)
    return {**figures, **least, **_about(policy)}


def _about(policy: Policy) -> dict[str, Any]:
    names = ("torch", "transformers", "peft")
    trained = (*policy.trainable().values(), *policy.value_head.parameters())
    return {
        "versions": {name: version(name) for name in names},
        "parameters": sum(p.numel() for name, p in policy.network.named_parameters() if "lora" not in name),
        "trained": sum(p.numel() for p in trained),
        **machine(),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--steps", type=int, default=5, help="the first is not counted (5)")
    parser.add_argument("--micro", type=int, default=4, help="responses of a backward pass (4)")
    parser.add_argument("--model", type=Path, help="folder of a model with its tokenizer; 64 sampled tokens")
    parser.add_argument("--task", type=Path, help="a folder that benchmarks/workload.py wrote")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--in-turn", action="store_true", help="see benchmarks/peers/meter.py")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    meter = Meter(in_turn=given.in_turn)
    with tempfile.TemporaryDirectory() as made:
        if given.task is None:
            # In a process of its own: what making a model leaves in memory is not this one's.
            flags = [] if given.model is None else ["--model", str(given.model)]
            script = [sys.executable, str(ROOT / "benchmarks" / "workload.py"), made]
            subprocess.run([*script, "--steps", str(given.steps), *flags], check=True)
        figures = measure(read(given.task or Path(made)), meter, steps=given.steps, micro=given.micro)
    model = {"model": given.model.name if given.model else "random"} if given.task is None else {}
    what = {**model, "steps": given.steps, "micro": given.micro}
    text = json.dumps({**what, "threads": given.threads, **figures}, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
