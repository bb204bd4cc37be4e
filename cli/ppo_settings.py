"""The settings of `train.py ppo`, and which of them do not go together."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from cli.errors import UsageError
from cli.scoring import REWARD_SECONDS, file_and_function
from cli.time_limit import MAX_SECONDS
from data.tiny.corpus import TinyCorpusConfig
from models.adapter import TuneConfig
from models.critic import CriticConfig
from models.precision import DeviceConfig
from models.ranges import Count, check_ranges
from models.trackers import TrackerKind, check_tracker
from ppo.config import PPOConfig
from ppo.prompts import PromptConfig
from reward import RewardConfig, ScheduleConfig, ScoringConfig
from sandbox import Limits


@dataclass(frozen=True)
class PPOCommand:
    """Train an SFT model with PPO on problems; writes OUT/checkpoints/ and logs."""

    config: Path | None = None
    """YAML preset; flags win over it."""
    sft: Path | None = None
    """Run folder of `train.py sft`, or a model (folder or hub name): start, frozen base and reference."""
    init: Path | None = None
    """Start from the policy and value weights of this checkpoint or run (of the same SFT model)."""
    problems: str = "tiny/rl"
    """Problems to train on: a file, or a split of the embedded corpus."""
    validation: str | None = "tiny/validation"
    """Problems that choose the best checkpoint, by the share that passes all tests. None: no checkpoint is
    best, and a run stands for its newest."""
    num_validation: Count = 200
    """How many of them to use, from the first."""
    validation_samples: Count = 1
    """Programs for each of them. Where few pass, one lets luck choose: two checkpoints that solve 5 of 100
    differ by some 3 points on 90 problems, with 4 programs for each by half of that."""
    reward: str | None = None
    """file.py:function, called with (problem, program) pairs, in place of the project's reward; once with one
    pair at the start, to see that it works."""
    reward_seconds: float = REWARD_SECONDS
    """How long one call of it may take, wall-clock seconds; then the run ends and says so."""
    out: Path = Path("runs/ppo")
    """Run folder to write."""
    overwrite: bool = False
    """Replace the run folder if it exists."""
    resume: Path | None = None
    """Run folder to go on with, from its newest whole checkpoint and under its own settings."""
    allow_changes: tuple[str, ...] = ()
    """With --resume: keys that may differ from what the run was started with, such as iterations."""
    tracker: TrackerKind = "none"
    """Where its numbers and some texts go besides its own logs and TensorBoard. wandb and trackio are to be
    installed, and go by their own settings (WANDB_MODE=offline)."""
    drop_long: bool = False
    """Leave problems out whose prompt is longer than max_prompt_tokens."""
    ppo: Annotated[PPOConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PPOConfig)
    tune: Annotated[TuneConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TuneConfig)
    value: Annotated[CriticConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=CriticConfig)
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    objective: RewardConfig = field(default_factory=RewardConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    limits: Limits = field(default_factory=Limits)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    corpus: TinyCorpusConfig = field(default_factory=TinyCorpusConfig)

    def __post_init__(self) -> None:
        check_ranges(self)


def check_settings(settings: PPOCommand) -> None:
    """Refuse settings that do not go together, before anything is loaded."""
    if settings.sft is None:
        raise UsageError("--sft DIR is needed: the run folder of `train.py sft`, or a model folder")
    if settings.allow_changes and settings.resume is None:
        raise UsageError("--allow-changes goes with --resume: a new run has nothing to differ from")
    if not 0 < settings.reward_seconds <= MAX_SECONDS:
        raise UsageError(f"--reward-seconds must be in (0, {MAX_SECONDS:g}], not {settings.reward_seconds}")
    if settings.reward is not None:
        file_and_function(settings.reward)
    check_tracker(settings.tracker)
    if settings.schedule.follows and settings.reward is not None:
        raise UsageError(
            "--schedule changes the project's objective, not the function of --reward: leave one out"
        )
