"""`evaluate.py`: checkpoints compared on the same problems, in a table with intervals."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console as RichConsole
from rich.table import Column, Table

from cli.console import Console
from cli.errors import UsageError
from cli.measure import Measurement, measure
from cli.places import model_folder, trained_folder
from cli.problems import check_sampling, encode_all, prompt_template, read_problems, within_limits
from cli.sample_files import of_public_sets, sample_files
from data import Problem
from data.tiny.corpus import TinyCorpusConfig
from models.policy import Policy
from models.precision import DeviceConfig, resolve_precision
from models.ranges import Count, NotNegative, NotNegativeInt, check_ranges
from models.storage import write_json
from ppo.prompts import PromptConfig, PromptTemplate
from ppo.run.checkpoint import load_policy, locate
from reward import RewardConfig, Scorer, ScoringConfig
from sandbox import Limits

# Column of the summary -> heading, factor, format.
COLUMNS = (
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


def run_evaluate(settings: EvaluateCommand) -> None:
    """Measure, write the results, print the table. Raises one of cli.errors.USER_ERRORS."""
    print_table(evaluate(settings))


def evaluate(settings: EvaluateCommand) -> dict[str, Any]:
    """Measure, and write the results and all samples to `out` and beside it; the content of evaluation.json.

    Every checkpoint is verified before the first is measured (a mistyped path costs no waiting), and loaded
    when its turn comes (they need not fit into memory together).
    """
    names, out = _names(settings.checkpoints, settings.names), settings.out
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file, {out / 'evaluation.json'}")
    precision = resolve_precision(settings.compute)
    bases = [model_folder(path, "--sft") for path in settings.sft]
    found = [locate(trained_folder(path), bases) for path in settings.checkpoints]
    problems, left_out = within_limits(
        read_problems(settings.problems, settings.corpus), settings.limits, settings.problems
    )
    problems = problems[: settings.num_problems or None]
    ask_others = settings.for_others == "yes" or (settings.for_others == "auto" and of_public_sets(problems))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)  # before the work that it is to hold
    models = []
    with ExitStack() as stack:
        keep = stack.enter_context(sample_files(out, names, problems, for_others=ask_others))
        scorer = stack.enter_context(_scorer(settings))
        console = stack.enter_context(Console("evaluate", len(names)))
        if left_out:
            console.say(left_out.rstrip("; "))
        for done, (name, path, located) in enumerate(zip(names, settings.checkpoints, found, strict=True)):
            policy = load_policy(located, precision)
            template = prompt_template(settings.prompting, policy, path)
            console.phase(name[-10:], len(problems) * settings.samples)
            measured = _measure(settings, policy, template, problems, scorer, console)
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
    if out is not None:
        write_json(out, results)
    return results


def _measure(
    settings: EvaluateCommand,
    policy: Policy,
    template: PromptTemplate,
    problems: Sequence[Problem],
    scorer: Scorer,
    console: Console,
) -> Measurement:
    """One model on the problems. Raises UsageError where they do not fit it."""
    check_sampling(policy, settings.max_prompt_tokens, settings.max_new_tokens)
    return measure(
        policy,
        encode_all(problems, template, settings.max_prompt_tokens),
        scorer,
        samples=settings.samples,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
        seed=settings.seed,
        progress=console.advance,
    )


def _scorer(settings: EvaluateCommand) -> Scorer:
    scoring = vars(settings.scoring)
    return Scorer(settings.objective, limits=settings.limits, seed=settings.seed, **scoring)


def table(results: dict[str, Any]) -> Table:
    """The paper's columns, with mean program length (characters) beside, as mean and [95 % interval]."""
    title = f"{results['problems']} problems x {results['samples']}, T = {results['temperature']}"
    view = Table(
        Column("model", overflow="fold"), title=title, caption="[95 % bootstrap interval over problems]"
    )
    for _, heading, _, _ in COLUMNS:
        view.add_column(heading, justify="right", overflow="fold")
    for model in results["models"]:
        cells = []
        for column, _, factor, form in COLUMNS:
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
