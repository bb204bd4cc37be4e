"""Settings of `evaluate.py`, and what of them can be checked before anything is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cli.errors import UsageError
from data.tiny.corpus import TinyCorpusConfig
from models.precision import DeviceConfig
from models.ranges import Count, NotNegative, NotNegativeInt, Seed, check_ranges
from ppo.prompts import PromptConfig
from reward import RewardConfig, ScoringConfig
from sandbox import Limits

FIRST = " (1)"
"""Behind the name of a recipe: its first seed."""


@dataclass(frozen=True)
class EvaluateCommand:
    """Compare checkpoints (PPO checkpoints or runs, SFT runs, model folders) on the same problems."""

    checkpoints: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Checkpoint, run or model folders, or hub names of models; a run stands for its best checkpoint."""
    config: Path | None = None
    """YAML preset; flags win over it."""
    sft: tuple[Path, ...] = ()
    """SFT runs or model folders in which a checkpoint that was copied finds its own, by hash."""
    names: tuple[str, ...] = ()
    """Names for the tables, one per checkpoint, or with --seeds one per recipe; their paths by default."""
    seeds: Count = 1
    """So many checkpoints in a row are one recipe, trained with as many seeds. Then recipes are compared, and
    what training seeds change is told apart from what sampling does."""
    suite: str = ""
    """A public set with settings of its own: humaneval, mbpp or security, in the file that --problems names,
    as it was downloaded; or a YAML file of several evaluations."""
    problems: str = "tiny/heldout"
    """A file, or a split of the embedded corpus."""
    num_problems: NotNegativeInt = 0
    """Use only so many, from the first; 0: all."""
    samples: Count = 1
    """Programs per problem."""
    temperature: NotNegative = 0.7
    """Sampling temperature; 0 takes the likeliest token. Compare policies at the temperature of training."""
    greedy: bool = False
    """Take one answer at temperature 0 as well, in tables of its own."""
    max_prompt_tokens: Count = 1024
    """Longer prompts keep the template and a part of the problem text (see --prompt-keep)."""
    max_new_tokens: Count = 512
    """Longest response, in tokens."""
    batch_size: Count = 64
    """Responses decoded side by side; results do not change."""
    seed: Seed = 1
    """Of the samples (the same for every checkpoint) and of the bootstrap."""
    out: Path | None = None
    """JSON file to write the results to; beside it the tables as Markdown, and every sample:
    evaluation_samples.jsonl."""
    markdown: Path | None = None
    """File for the tables as Markdown; by default beside --out, under its name."""
    trained_on: tuple[str, ...] = ()
    """Files, or splits of the embedded corpus, that the models were trained on, beside what their runs name:
    problems that stand there too are counted, and the scores given without them."""
    for_others: Literal["auto", "yes", "no"] = "auto"
    """Write the programs also as EvalPlus and bigcode's harness read them: evalplus_samples.jsonl and
    generations.json. auto: where all problems are of HumanEval or MBPP."""
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    objective: RewardConfig = field(default_factory=RewardConfig)
    limits: Limits = field(default_factory=Limits)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    corpus: TinyCorpusConfig = field(default_factory=TinyCorpusConfig)

    def __post_init__(self) -> None:
        check_ranges(self)


def tables_file(settings: EvaluateCommand) -> Path | None:
    """Where the tables go as Markdown, if anywhere."""
    return settings.markdown or (settings.out.with_suffix(".md") if settings.out else None)


def check_settings(settings: EvaluateCommand) -> None:
    """Raise UsageError where settings contradict each other, or name a folder where a file is due."""
    for flag, file in (("--out", settings.out), ("--markdown", tables_file(settings))):
        if file is not None and file.is_dir():
            raise UsageError(f"{flag} {file}: is a folder; name a file, {file / 'evaluation.json'}")
    if settings.temperature == 0 and settings.samples > 1:
        raise UsageError(
            f"--samples {settings.samples} at temperature 0 are one answer, {settings.samples} times: "
            "give a --temperature, 0.8 say"
        )


def names_of(settings: EvaluateCommand) -> list[str]:
    """One for each checkpoint. Of recipes: their own names, and which seed."""
    paths, names, seeds = settings.checkpoints, settings.names, settings.seeds
    if not paths:
        raise UsageError("name at least one checkpoint to evaluate")
    if len(paths) % seeds:
        raise UsageError(f"--seeds {seeds}: {len(paths)} checkpoints are not {seeds} for each recipe")
    wanted = len(paths) // seeds
    if names and len(names) != wanted:
        what = "checkpoints" if seeds == 1 else f"recipes of {seeds} checkpoints each"
        raise UsageError(f"--names: {len(names)} names for {wanted} {what}")
    named = list(names) or [str(path) for path in paths[::seeds]]
    if len(set(named)) < len(named) and (names or seeds > 1):
        what = "checkpoints" if seeds == 1 else "recipes"
        raise UsageError(f"--names {' '.join(named)}: {what} need names of their own")
    if seeds == 1:
        return named
    return [f"{name} ({number})" for name in named for number in range(1, seeds + 1)]
