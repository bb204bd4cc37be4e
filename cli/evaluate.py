"""`evaluate.py`: checkpoints compared on the same problems, in a table with intervals."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console as RichConsole
from rich.table import Column, Table

from cli.console import Console
from cli.errors import UsageError
from cli.measure import measure
from cli.places import model_folder, trained_folder
from cli.problems import check_sampling, encode_all, prompt_template, read_problems, within_limits
from cli.sample_files import sample_file
from data.tiny.corpus import TinyCorpusConfig
from models.precision import DeviceConfig, resolve_precision
from models.ranges import Count, NotNegative, NotNegativeInt, check_ranges
from models.storage import write_json
from ppo.prompts import PromptConfig
from ppo.run.checkpoint import load_policy, locate
from reward import RewardConfig, Scorer, ScoringConfig
from sandbox import Limits

# Column of the summary -> heading, factor, format.
_TABLE = (
    ("syntax", "Syn. %", 100, "{:.1f}"),
    ("any_pass", "≥1-P %", 100, "{:.1f}"),
    ("all_pass", "All-P %", 100, "{:.1f}"),
    ("reward", "mean R", 1, "{:.3f}"),
    ("reward_pass_fraction", "R with k/T", 1, "{:.3f}"),
    ("length", "length", 1, "{:.1f}"),
)


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
    """Names for the table, one per checkpoint; their paths by default."""
    problems: str = "tiny/heldout"
    """A file, or a split of the embedded corpus."""
    num_problems: NotNegativeInt = 0
    """Use only so many, from the first; 0: all."""
    samples: Count = 1
    """Programs per problem."""
    temperature: NotNegative = 0.7
    """Sampling temperature; 0 takes the likeliest token. Compare policies at the temperature of training."""
    max_prompt_tokens: Count = 1024
    """Longer prompts keep the template and a part of the problem text (see --prompt-keep)."""
    max_new_tokens: Count = 512
    """Longest response, in tokens."""
    batch_size: Count = 64
    """Responses decoded side by side; results do not change."""
    seed: NotNegativeInt = 1
    """Of the samples (the same for every checkpoint) and of the bootstrap."""
    out: Path | None = None
    """JSON file to write the results to, and beside it every sample: evaluation_samples.jsonl."""
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    objective: RewardConfig = field(default_factory=RewardConfig)
    limits: Limits = field(default_factory=Limits)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    corpus: TinyCorpusConfig = field(default_factory=TinyCorpusConfig)

    def __post_init__(self) -> None:
        check_ranges(self)


def run_evaluate(settings: EvaluateCommand) -> None:
    """Measure, write the results, print the table. Raises one of cli.errors.USER_ERRORS."""
    print_table(evaluate(settings))


def evaluate(settings: EvaluateCommand) -> dict[str, Any]:
    """Measure, and write the results and all samples to `out` and beside it; the content of evaluation.json.

    Every checkpoint is verified before the first is measured (a mistyped path costs no waiting), and loaded
    when its turn comes (they need not fit into memory together).
    """
    paths = settings.checkpoints
    names = _names(paths, settings.names)
    if settings.out is not None and settings.out.is_dir():
        raise UsageError(
            f"--out {settings.out}: is a folder; name a file, {settings.out / 'evaluation.json'}"
        )
    precision = resolve_precision(settings.compute)
    bases = [model_folder(path, "--sft") for path in settings.sft]
    found = [locate(trained_folder(path), bases) for path in paths]
    problems, left_out = within_limits(
        read_problems(settings.problems, settings.corpus), settings.limits, settings.problems
    )
    problems = problems[: settings.num_problems or None]
    models = []
    if settings.out is not None:
        settings.out.parent.mkdir(parents=True, exist_ok=True)  # before the work that it is to hold
    with ExitStack() as stack:
        keep = stack.enter_context(sample_file(settings.out))
        scorer = stack.enter_context(_scorer(settings))
        console = stack.enter_context(Console("evaluate", len(paths)))
        if left_out:
            console.say(left_out.rstrip("; "))
        for done, (name, path, located) in enumerate(zip(names, paths, found, strict=True)):
            policy = load_policy(located, precision)
            check_sampling(policy, settings.max_prompt_tokens, settings.max_new_tokens)
            template = prompt_template(settings.prompting, policy, path)
            prompts = encode_all(problems, template, settings.max_prompt_tokens)
            console.phase(name[-10:], len(prompts) * settings.samples)
            measured = measure(
                policy,
                prompts,
                scorer,
                samples=settings.samples,
                temperature=settings.temperature,
                max_new_tokens=settings.max_new_tokens,
                batch_size=settings.batch_size,
                seed=settings.seed,
                progress=console.advance,
            )
            models.append({"name": name, "checkpoint": str(path), **measured.summary(settings.seed)})
            keep(name, measured.samples())
            console.step(done + 1)
    results = {
        "problems": len(problems),
        "source": settings.problems,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "seed": settings.seed,
        "models": models,
    }
    if settings.out is not None:
        write_json(settings.out, results)
    return results


def _scorer(settings: EvaluateCommand) -> Scorer:
    scoring = vars(settings.scoring)
    return Scorer(settings.objective, limits=settings.limits, seed=settings.seed, **scoring)


def table(results: dict[str, Any]) -> Table:
    """The paper's columns, with mean program length (characters) beside, as mean and [95 % interval]."""
    title = f"{results['problems']} problems x {results['samples']}, T = {results['temperature']}"
    view = Table(
        Column("model", overflow="fold"), title=title, caption="[95 % bootstrap interval over problems]"
    )
    for _, heading, _, _ in _TABLE:
        view.add_column(heading, justify="right", overflow="fold")
    for model in results["models"]:
        cells = []
        for column, _, factor, form in _TABLE:
            mean, low, high = (form.format(factor * model[column][key]) for key in ("mean", "low", "high"))
            cells.append(f"{mean}\n\\[{low}-{high}]")
        view.add_row(model["name"], *cells)
    return view


def print_table(results: dict[str, Any]) -> None:
    """Print the table; where there is no terminal, as wide as it needs."""
    console = RichConsole()
    if not console.is_terminal:
        console = RichConsole(width=140)
    console.print(table(results))


def _names(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    if not paths:
        raise UsageError("name at least one checkpoint to evaluate")
    if names and len(names) != len(paths):
        raise UsageError(f"--names: {len(names)} names for {len(paths)} checkpoints")
    return list(names) or [str(path) for path in paths]
