"""What a run carries from one iteration to the next, besides the weights."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from models.policy import Policy
from ppo.baselines import PromptMeans
from ppo.config import PPOConfig
from ppo.kl import AdaptiveKL, FixedKL, KLController
from ppo.memory import fit_micro_batch
from ppo.optimizer import build_optimizer
from ppo.parallel import ALONE, World
from ppo.prompts import EncodedPrompt
from ppo.rewards import RunningScale
from ppo.run.outcomes import Transitions
from ppo.run.sampler import PromptSampler
from ppo.run.watch import Watch


@dataclass
class TrainState:
    """The mutable part of a run. A checkpoint holds all of it."""

    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    sampler: PromptSampler
    kl: KLController
    prompt_means: PromptMeans
    watch: Watch
    transitions: Transitions = field(default_factory=Transitions)
    scale: RunningScale = field(default_factory=RunningScale)
    objective: str = ""
    """What the scorer rewarded in the last iteration; "" before the first."""
    iteration: int = 0
    """Completed iterations."""
    samples: int = 0
    """Responses sampled so far."""
    micro_batch: int = 0
    """Responses per backward pass that were found to fit; 0 unless micro_batch_size is auto."""
    skipped_in_a_row: int = 0
    """Optimizer steps that the loss scaler skipped since the last that was taken."""
    scorer: dict[str, Any] = field(default_factory=dict)
    """State of the scorer after the last completed iteration."""
    best: dict[str, Any] = field(default_factory=dict)
    """`iteration` and `all_pass` of the best validation so far; iteration None where nothing is validated."""
    setup: dict[str, Any] = field(default_factory=dict)
    """What the run is made of (settings, and hashes of what it reads), as flat JSON values. A checkpoint
    keeps it for whoever resumes; it is not restored."""

    def follow(self, objective: str) -> None:
        """Forget what was measured of scores once they mean something else: running scale, prompt means."""
        if self.objective and objective != self.objective:
            self.scale.clear()
            self.prompt_means.clear()
        self.objective = objective

    def validated(self, all_pass: float | None) -> None:
        """Take in the share of validation problems that pass all tests; None: there are no such problems."""
        if all_pass is None:
            self.best = self.best or {"iteration": None}
        elif all_pass > self.best.get("all_pass", -1.0):
            self.best = {"iteration": self.iteration, "all_pass": all_pass}

    def to_json(self) -> dict[str, Any]:
        """Everything but the optimizer's tensors, as JSON values."""
        return {
            "iteration": self.iteration,
            "samples": self.samples,
            "micro_batch": self.micro_batch,
            "skipped_in_a_row": self.skipped_in_a_row,
            "prompts_drawn": self.sampler.drawn,
            "kl_coef": self.kl.coefficient,
            "running_scale": self.scale.state_dict(),
            "prompt_means": self.prompt_means.state_dict(),
            "transitions": self.transitions.state_dict(),
            "watch": self.watch.state_dict(),
            "objective": self.objective,
            "grad_scaler": self.scaler.state_dict(),
            "scorer": self.scorer,
            "best": self.best,
            "setup": self.setup,
        }

    def load_json(self, state: dict[str, Any]) -> None:
        """Go on from what `to_json` gave."""
        self.iteration = state["iteration"]
        self.samples = state["samples"]
        self.micro_batch = state["micro_batch"]
        self.skipped_in_a_row = state["skipped_in_a_row"]
        self.sampler.drawn = state["prompts_drawn"]
        self.kl.coefficient = state["kl_coef"]
        self.scale.load_state_dict(state["running_scale"])
        self.prompt_means.load_state_dict(state["prompt_means"])
        self.transitions.load_state_dict(state["transitions"])
        self.watch.load_state_dict(state["watch"])
        self.objective = state["objective"]
        if state["grad_scaler"]:
            self.scaler.load_state_dict(state["grad_scaler"])
        self.scorer = state["scorer"]
        self.best = state["best"]


def fresh_state(
    policy: Policy, prompts: list[EncodedPrompt], config: PPOConfig, setup: dict[str, Any] | None = None
) -> TrainState:
    """The state before the first iteration. `setup`: what a resume will compare itself with."""
    if config.kl_controller == "adaptive" and config.kl_coef > 0:
        kl: KLController = AdaptiveKL(config.kl_coef, config.kl_target, config.kl_horizon)
    else:
        kl = FixedKL(config.kl_coef)
    return TrainState(
        optimizer=build_optimizer(policy, config),
        scaler=policy.precision.grad_scaler(),
        sampler=PromptSampler(prompts, config.seed),
        kl=kl,
        prompt_means=PromptMeans(config.baseline_memory),
        watch=Watch(config),
        setup=setup or {},
    )


def settle_micro_batch(
    config: PPOConfig, policy: Policy, state: TrainState, world: World = ALONE
) -> PPOConfig:
    """The settings with a number in the place of `micro_batch_size: auto`; what was found once, stays. Of
    several processes the least decides.

    Raises:
        TrainingError: not even one response fits.
    """
    if config.micro_batch_size != "auto":
        state.micro_batch = 0
        return config
    if not state.micro_batch:
        longest = max(len(prompt.ids) for prompt in state.sampler.prompts)
        state.micro_batch = min(world.each(lambda: fit_micro_batch(policy, config, longest)))
    return replace(config, micro_batch_size=state.micro_batch)
