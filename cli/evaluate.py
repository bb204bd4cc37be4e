"""`evaluate.py`: checkpoints measured on the same problems."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from cli.console import Console
from cli.evaluate_results import Asked, MeasuredModel, evaluation_results
from cli.evaluate_settings import EvaluateCommand, check_settings, names_of, tables_file
from cli.measure import Measurement, measure
from cli.parallel import sandbox_options, together
from cli.places import model_folder, trained_folder
from cli.problems import check_sampling, encode_all, prompt_template, read_problems, within_limits
from cli.results import print_results, write_markdown
from cli.sample_files import of_public_sets, sample_files
from cli.secure import of_the_judge
from cli.settings import plain
from cli.suites import suite_problems
from cli.trained_on import trained_texts
from data import Problem
from models.policy import Policy
from models.precision import resolve_precision
from models.storage import write_json
from ppo.parallel import ALONE, World
from ppo.prompts import EncodedPrompt, PromptTemplate
from ppo.run.checkpoint import load_policy, locate
from reward import Scorer


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
    check_settings(settings)
    names, tables = names_of(settings), tables_file(settings)
    precision = resolve_precision(settings.compute)
    bases = [model_folder(path, "--sft") for path in settings.sft]
    found = [locate(trained_folder(path), bases) for path in settings.checkpoints]
    problems, told = _read(settings, world)
    trained, notes = trained_texts(found, settings.trained_on, settings.corpus)
    ask_others = settings.for_others == "yes" or (settings.for_others == "auto" and of_public_sets(problems))
    for file in filter(None, (settings.out, tables)):
        file.parent.mkdir(parents=True, exist_ok=True)  # before the work that it is to hold
    measured: list[MeasuredModel] = []
    with ExitStack() as stack:
        keep = stack.enter_context(sample_files(settings.out, names, problems, for_others=ask_others))
        scorer = stack.enter_context(_scorer(settings, world))
        console = stack.enter_context(Console("evaluate", len(names), quiet=not world.leads))
        for line in told:
            console.say(line)
        for done, (name, path, located) in enumerate(zip(names, settings.checkpoints, found, strict=True)):
            policy = load_policy(located, precision)
            template = prompt_template(settings.prompting, policy, path)
            prompts = _prompts(settings, policy, template, problems)
            sampled, greedy = _measure(settings, policy, prompts, scorer, console, name, world)
            keep(name, sampled.samples(), greedy.samples() if greedy else ())
            asked = Asked(template.form.prompt, vocabulary_hash(policy), sum(p.truncated for p in prompts))
            # What is kept is arrays: the model has to go before the next comes.
            greedy_numbers = greedy.numbers(name) if greedy else None
            measured.append(MeasuredModel(sampled.numbers(name), greedy_numbers, asked))
            console.step(done + 1)
        notes += [*of_the_judge(problems, scorer), *told]
    results = evaluation_results(settings, title, names, problems, measured, trained, notes)
    if settings.out is not None:
        write_json(settings.out, results)
    if tables is not None:
        write_markdown(tables, results)
    return results


def _read(settings: EvaluateCommand, world: World) -> tuple[list[Problem], list[str]]:
    """The problems that are asked, and what became of rows that are none."""
    if settings.suite:
        problems, told = suite_problems(
            settings.suite, settings.problems, settings.limits, quiet=not world.leads
        )
    else:
        problems, told = read_problems(settings.problems, settings.corpus, untested=True), ""
    problems, left_out = within_limits(problems, settings.limits, settings.problems)
    lines = [line for line in (told, left_out) if line]
    return problems[: settings.num_problems or None], lines


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


def vocabulary_hash(policy: Policy) -> str:
    """Equal for models whose tokens are the same."""
    vocabulary = sorted(policy.tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()


def _scorer(settings: EvaluateCommand, world: World) -> Scorer:
    options = sandbox_options(settings.scoring, world)
    return Scorer(settings.objective, limits=settings.limits, seed=settings.seed, **options)
