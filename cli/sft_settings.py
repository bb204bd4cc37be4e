"""The settings of `train.py sft`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from cli.demonstrations import DEFAULT
from cli.problems import EMBEDDED
from data.samples import SampleConfig
from data.tiny.corpus import TinyCorpusConfig
from models.adapter import TuneConfig
from models.precision import DeviceConfig
from models.sft_config import SFTConfig
from models.tiny import TinyConfig
from models.trackers import TrackerKind
from ppo.prompts import PromptConfig


@dataclass(frozen=True)
class SFTCommand:
    """Train a model on demonstrations; writes OUT/model/, the base and the reference of PPO."""

    config: Path | None = None
    """YAML preset; flags win over it."""
    model: str = "tiny"
    """A causal language model: its folder, hub name, or an SFT run; tiny: one made from scratch."""
    problems: str = DEFAULT
    """What to learn from: a file of problems with solutions, of rows {prompt, completion} or of rows
    {messages}; or tiny/sft, the embedded demonstrations. With from_samples: where the problems' texts are
    looked up, in the place of the samples."""
    validation: str | None = "auto"
    """The same for the validation loss. auto: tiny/validation beside the embedded demonstrations, else none.
    None: no validation loss."""
    out: Path = Path("runs/sft")
    """Run folder to write."""
    overwrite: bool = False
    """Replace the run folder if it exists."""
    resume: Path | None = None
    """Run folder to go on with, from its newest whole checkpoint and under its own settings."""
    allow_changes: tuple[str, ...] = ()
    """With --resume: keys that may differ from what the run was started with, such as epochs."""
    tracker: TrackerKind = "none"
    """Where its numbers and some texts go besides its own logs and TensorBoard. wandb and trackio are to be
    installed, and go by their own settings (WANDB_MODE=offline)."""
    max_prompt_tokens: int = 1024
    """Longer prompts keep the template and a part of the problem text (see --prompt-keep)."""
    drop_long: bool = False
    """Leave problems with longer prompts out instead."""
    samples: Annotated[SampleConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=SampleConfig)
    sft: Annotated[SFTConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=SFTConfig)
    tune: Annotated[TuneConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TuneConfig)
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    tiny: TinyConfig = field(default_factory=TinyConfig)
    corpus: TinyCorpusConfig = field(default_factory=TinyCorpusConfig)

    @property
    def validated_on(self) -> str | None:
        """What `validation` stands for."""
        if self.validation != "auto":
            return self.validation
        embedded = self.problems.startswith(EMBEDDED) and not self.samples.from_samples
        return "tiny/validation" if embedded else None
