"""`evaluate.py`: checkpoints compared on the same problems, in a table with intervals."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from cli.console import Console
from cli.errors import UsageError
from cli.measure import Measurement, measure
from cli.parallel import sandbox_options, together
from cli.places import model_folder, trained_folder
from cli.problems import check_sampling, encode_all, prompt_template, read_problems, within_limits
from cli.results import print_results, write_markdown
from cli.sample_files import of_public_sets, sample_files
from cli.secure import families_of, of_the_judge, security_summary, what_decides
from cli.settings import plain
from cli.suites import suite_problems
from cli.trained_on import trained_texts
from data import Problem
from data.tiny.corpus import TinyCorpusConfig
from evaluation.overlap import overlapping
from evaluation.summary import Numbers, comparisons, model_summary, recipe_comparisons, recipes, without
from models.policy import Policy
from models.precision import DeviceConfig, resolve_precision
from models.ranges import Count, NotNegative, NotNegativeInt, check_ranges
from models.storage import write_json
from ppo.parallel import ALONE, World
from ppo.prompts import EncodedPrompt, PromptConfig, PromptTemplate
from ppo.run.checkpoint import load_policy, locate
from reward import RewardConfig, Scorer, ScoringConfig
from sandbox import Limits

_FIRST = " (1)"
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
    seed: NotNegativeInt = 1
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


def run_evaluate(asked: Mapping[str, EvaluateCommand]) -> None:
    """Measure, write the results, print the tables, of each evaluation by its title. Raises one of
    cli.errors.USER_ERRORS."""
    first = next(iter(asked.values()))
    described = {f"{title}: {key}": v for title, one in asked.items() for key, v in plain(one).items()}
    with together("start it again", first.compute, described) as world:
        for title, settings in asked.items():
            with world.agreeing():
                here = settings if world.leads else replace(settings, out=None, markdown=None)
                results = evaluate(here, world, title)
            if world.leads:
                print_results(results)


def evaluate(settings: EvaluateCommand, world: World = ALONE, title: str = "") -> dict[str, Any]:
    """Measure, and write the results and all samples to `out` and beside it; the content of evaluation.json.
    Several processes share the samples.

    Every checkpoint is verified before the first is measured (a mistyped path costs no waiting), and loaded
    when its turn comes (they need not fit into memory together).
    """
    names, out = _names(settings), settings.out
    tables = settings.markdown or (out.with_suffix(".md") if out else None)
    for flag, file in (("--out", out), ("--markdown", tables)):
        if file is not None and file.is_dir():
            raise UsageError(f"{flag} {file}: is a folder; name a file, {file / 'evaluation.json'}")
    precision = resolve_precision(settings.compute)
    bases = [model_folder(path, "--sft") for path in settings.sft]
    found = [locate(trained_folder(path), bases) for path in settings.checkpoints]
    if settings.temperature == 0 and settings.samples > 1:
        raise UsageError(
            f"--samples {settings.samples} at temperature 0 are one answer, {settings.samples} times: "
            "give a --temperature, 0.8 say"
        )
    problems, told = _read(settings, world)
    problems, left_out = within_limits(problems, settings.limits, settings.problems)
    problems = problems[: settings.num_problems or None]
    trained, notes = trained_texts(found, settings.trained_on, settings.corpus)
    ask_others = settings.for_others == "yes" or (settings.for_others == "auto" and of_public_sets(problems))
    for file in filter(None, (out, tables)):
        file.parent.mkdir(parents=True, exist_ok=True)  # before the work that it is to hold
    measured: list[_Model] = []
    with ExitStack() as stack:
        keep = stack.enter_context(sample_files(out, names, problems, for_others=ask_others))
        scorer = stack.enter_context(_scorer(settings, world))
        console = stack.enter_context(Console("evaluate", len(names), quiet=not world.leads))
        for line in filter(None, (told, left_out.rstrip("; "))):
            console.say(line)
        for done, (name, path, located) in enumerate(zip(names, settings.checkpoints, found, strict=True)):
            policy = load_policy(located, precision)
            template = prompt_template(settings.prompting, policy, path)
            prompts = _prompts(settings, policy, template, problems)
            sampled, greedy = _measure(settings, policy, prompts, scorer, console, name, world)
            keep(name, sampled.samples(), greedy.samples() if greedy else ())
            asked = _Asked(template.form.prompt, vocabulary_hash(policy), sum(p.truncated for p in prompts))
            # What is kept is arrays: the model has to go before the next comes.
            measured.append(_Model(sampled.numbers(name), greedy.numbers(name) if greedy else None, asked))
            console.step(done + 1)
        notes += of_the_judge(problems, scorer)
    families = families_of(problems)
    results = {
        **({"suite": title} if title else {}),
        **what_decides(problems),
        "problems": len(problems),
        "source": settings.problems,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "seed": settings.seed,
        "models": [
            {"name": name, "checkpoint": str(path)}
            | model_summary(model.sampled, settings.seed)
            | security_summary(model.sampled, families, settings.seed)
            for name, path, model in zip(names, settings.checkpoints, measured, strict=True)
        ],
        **_compared(settings, names, measured),
        **_overlap(settings, problems, measured, trained),
        "notes": [*_reservations(measured), *notes, *filter(None, (told, left_out.rstrip("; ")))],
    }
    if out is not None:
        write_json(out, results)
    if tables is not None:
        write_markdown(tables, results)
    return results


def _read(settings: EvaluateCommand, world: World) -> tuple[list[Problem], str]:
    """The problems, and what became of rows that are none."""
    if settings.suite:
        return suite_problems(settings.suite, settings.problems, settings.limits, quiet=not world.leads)
    return read_problems(settings.problems, settings.corpus, untested=True), ""


class _Asked(NamedTuple):
    """How the problems were put to a model."""

    prompt: str
    """Kind of template."""
    vocabulary: str
    cut: int
    """Prompts over the limit, of which a part was left out."""


class _Model(NamedTuple):
    """What is left of a model when the next is loaded."""

    sampled: Numbers
    greedy: Numbers | None
    asked: _Asked


def _prompts(
    settings: EvaluateCommand, policy: Policy, template: PromptTemplate, problems: Sequence[Problem]
) -> list[EncodedPrompt]:
    """The problems as a model reads them. Raises UsageError where they do not fit it."""
    check_sampling(policy, settings.max_prompt_tokens, settings.max_new_tokens)
    return encode_all(problems, template, settings.max_prompt_tokens)


def _measure(
    settings: EvaluateCommand,
    policy: Policy,
    prompts: Sequence[EncodedPrompt],
    scorer: Scorer,
    console: Console,
    name: str,
    world: World,
) -> tuple[Measurement, Measurement | None]:
    """One model on the problems: sampled, and greedy where asked for."""

    def once(samples: int, temperature: float) -> Measurement:
        console.phase(name[-10:], len(prompts) * samples)
        return measure(
            policy,
            prompts,
            scorer,
            samples=samples,
            temperature=temperature,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=console.advance,
            world=world,
        )

    return once(settings.samples, settings.temperature), once(1, 0.0) if settings.greedy else None


def _compared(settings: EvaluateCommand, names: Sequence[str], models: Sequence[_Model]) -> dict[str, Any]:
    """Pairs of models, or of recipes; the same of greedy answers."""
    seed = settings.seed
    found: dict[str, Any] = {}
    sampled = [model.sampled for model in models]
    if settings.seeds > 1:
        groups = {
            names[start].removesuffix(_FIRST): sampled[start : start + settings.seeds]
            for start in range(0, len(sampled), settings.seeds)
        }
        found = {"recipes": recipes(groups), "recipe_comparisons": recipe_comparisons(groups)}
    elif len(sampled) > 1:
        found = {"comparisons": comparisons(sampled, seed)}
    if settings.greedy:
        greedy = [model.greedy for model in models if model.greedy]
        found["greedy"] = {
            "models": [{"name": each.name} | model_summary(each, seed) for each in greedy],
            "comparisons": [] if settings.seeds > 1 else comparisons(greedy, seed),
        }
    return found


def _overlap(
    settings: EvaluateCommand,
    problems: Sequence[Problem],
    models: Sequence[_Model],
    trained: dict[str, list[str]],
) -> dict[str, Any]:
    """How many of the problems stood among those of training, and the scores without them."""
    if not trained:
        return {}
    seen = overlapping([p.prompt for p in problems], [text for texts in trained.values() for text in texts])
    sampled = [model.sampled for model in models]
    apart = without(sampled, seen, settings.seed) if seen.any() and not seen.all() else []
    return {"overlap": {"problems": int(seen.sum()), "sources": list(trained), "models": apart}}


def _reservations(models: Sequence[_Model]) -> list[str]:
    """What makes models less comparable than their table looks."""
    asked = {model.sampled.name: model.asked for model in models}
    notes = []
    if len({one.vocabulary for one in asked.values()}) > 1:
        notes.append(
            "the models have different tokenizers: problems and seeds are the same, but limits in tokens "
            "hold other amounts of text, and the luck of sampling is not shared"
        )
    if len({one.prompt for one in asked.values()}) > 1:
        told = ", ".join(f"{name} by {one.prompt}" for name, one in asked.items())
        notes.append(f"the models are asked through different templates: {told}")
    if any(one.cut for one in asked.values()):
        told = ", ".join(f"{one.cut} for {name}" for name, one in asked.items())
        notes.append(f"prompts over --max-prompt-tokens, of which a part was left out: {told}")
    return notes


def vocabulary_hash(policy: Policy) -> str:
    """Equal for models whose tokens are the same."""
    vocabulary = sorted(policy.tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()


def _scorer(settings: EvaluateCommand, world: World) -> Scorer:
    options = sandbox_options(settings.scoring, world)
    return Scorer(settings.objective, limits=settings.limits, seed=settings.seed, **options)


def _names(settings: EvaluateCommand) -> list[str]:
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
    if seeds == 1:
        return named
    if len(set(named)) < len(named):
        raise UsageError(f"--names {' '.join(named)}: recipes need names of their own")
    return [f"{name} ({number})" for name in named for number in range(1, seeds + 1)]
