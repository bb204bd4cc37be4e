"""Runs of the loop on the toy task: write the letter a."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ppo_helpers import prompts_of

from data import Problem
from models.adapter import TuneConfig
from models.critic import CriticConfig
from models.policy import Policy, build_policy
from models.precision import Precision
from ppo.config import PPOConfig
from ppo.loop import Evaluator, train
from ppo.parallel import ALONE, World
from ppo.rollout import PlainScore
from ppo.run.checkpoint import restore
from ppo.run.folder import newest_whole, numbered, tidy
from ppo.run.log import FILES, RunLog
from ppo.run.state import TrainState, fresh_state

DIGITS = [f"{i}:" for i in range(10)]
CPU = Precision(torch.device("cpu"), torch.float32)


class Quiet:
    """A display that shows nothing."""

    def phase(self, name: str, total: int) -> None: ...

    def advance(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...

    def iteration(self, number: int, total: int, metrics: Mapping[str, float], seconds: float) -> None: ...


def share_of_a(program: str) -> float | None:
    """1 for a response of nothing but a."""
    return program.count("a") / max(1, len(program))


def sometimes_faulty(program: str) -> float | None:
    """The same, but some programs cannot be scored."""
    return None if program.startswith("b") else share_of_a(program)


def by_weights(policy: Policy) -> dict[str, float]:
    """A validation that depends on the weights, and so tells one run from another."""
    total = sum(p.detach().double().abs().sum() for p in policy.trainable().values())
    return {"validation/all_pass": float(total % 1)}


class ToyScorer:
    """A function of the program as a scorer. It counts its calls, and needs that count back on resume.

    It must have heard of each program of its share, and of no other, before it is asked for their scores.
    """

    def __init__(
        self,
        function: Callable[[str], float | None] = share_of_a,
        *,
        interrupt: int = -1,
        world: World = ALONE,
    ) -> None:
        """`interrupt`: the iteration in which the user presses Ctrl-C."""
        self.function = function
        self.interrupt = interrupt
        self.world = world
        self.calls = 0
        self._begun: list[tuple[str, str]] = []

    def __call__(self, pairs: Sequence[tuple[Problem, str]], iteration: int) -> list[PlainScore | None]:
        if iteration == self.interrupt:
            raise KeyboardInterrupt
        self.calls += 1
        scores = self.world.spread(pairs, self._gather)
        return [None if s is None else PlainScore(s, metrics={"toy/calls": self.calls}) for s in scores]

    def begin(self, problem: Problem, program: str) -> None:
        self._begun.append((problem.id, program))

    def _gather(self, pairs: Sequence[tuple[Problem, str]]) -> list[float | None]:
        begun, self._begun = self._begun, []
        assert sorted(begun) == sorted((problem.id, program) for problem, program in pairs)
        return [self.function(program) for _, program in pairs]

    def objective(self, iteration: int) -> str:
        return "toy"

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


def toy_config(**changes: Any) -> PPOConfig:
    """Sixteen responses of up to four tokens."""
    settings: dict[str, Any] = {
        "iterations": 4,
        "prompts_per_iteration": 16,
        "minibatch_size": 8,
        "micro_batch_size": 8,
        "rollout_batch": 16,
        "max_new_tokens": 4,
        "temperature": 1.0,
        "learning_rate": 3e-3,
        "value_learning_rate": 1e-2,
        "kl_coef": 0.01,
    }
    return PPOConfig(**settings | changes)


def run(
    folder: Path,
    sft: Path,
    config: PPOConfig,
    scorer: ToyScorer,
    *,
    tune: str = "lora",
    critic: str = "surprise",
    precision: Precision = CPU,
    evaluator: Evaluator = lambda policy: {"validation/all_pass": 0.0},
    resume: bool = False,
    prepare: Callable[[Policy], None] = lambda policy: None,
    stop: Callable[[], bool] = lambda: False,
    texts: Sequence[str] = DIGITS,
    world: World = ALONE,
    prepare_state: Callable[[TrainState], None] = lambda state: None,
) -> tuple[Policy, TrainState]:
    """Train in `folder`, from the start or from its newest checkpoint, as the command line does."""
    folder.mkdir(exist_ok=True)
    tuning = TuneConfig(tune=tune, lora_rank=4, lora_alpha=8)  # type: ignore[arg-type]
    policy = build_policy(sft, tuning, precision, config.seed, critic=CriticConfig(critic))  # type: ignore[arg-type]
    prepare(policy)
    prompts = prompts_of(policy.tokenizer, texts)
    state = fresh_state(policy, prompts, config)
    prepare_state(state)
    log = RunLog(folder, Quiet(), config.iterations, silent=not world.leads)
    try:
        checkpoint = world.lead(lambda: newest_whole(folder))[0] if resume else None
        if checkpoint is not None:
            restore(checkpoint, policy, state)
            scorer.load_state_dict(state.scorer)
            if world.leads:
                tidy(folder / "checkpoints", state.best.get("iteration"), config.keep_checkpoints)
        log.truncate(dict.fromkeys(FILES, 0) if checkpoint is None else checkpoint.state["logs"])
        train(
            config,
            policy,
            state,
            scorer=scorer,
            evaluator=evaluator,
            log=log,
            checkpoints=folder / "checkpoints",
            stop=lambda: world.any(stop),
            world=world,
        )
    finally:
        log.close()
    return policy, state


def newest_checkpoint(folder: Path) -> Path:
    """Of a run, whole or not."""
    return numbered(folder / "checkpoints")[-1]


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; NaN and Infinity are not JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in metrics.jsonl")

    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]
