"""`train.py sample`: a typed problem in, a program with its verdict and its reward out."""

import io
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console as RichConsole
from rich.syntax import Syntax

from cli.errors import UsageError
from cli.places import model_folder, trained_folder
from cli.problems import check_sampling, encode_all, prompt_template
from data import Problem, TestCase
from data.fields import RowError
from data.forms import check_calls
from data.values import decode, decode_call
from models.precision import DeviceConfig, resolve_precision
from models.ranges import Count, NotNegative, Seed, check_ranges
from ppo.prompts import PromptConfig
from ppo.rollout import sample_responses
from ppo.run.checkpoint import load_policy, locate
from reward import Outcome, Reward, RewardConfig, Scorer, ScoringConfig
from reward.outcome import Verdict
from sandbox import Limits


@dataclass(frozen=True)
class SampleCommand:
    """Type a problem (or pass --problem) with its --test, see the program, its verdict and its reward."""

    checkpoint: Path = Path("runs/demo/ppo")
    """PPO checkpoint or run, SFT run, or model folder (or hub name)."""
    sft: Path | None = None
    """SFT run or model folder that the checkpoint stands on, where it was copied and cannot find it."""
    config: Path | None = None
    """YAML preset; flags win over it."""
    problem: str | None = None
    """The problem; left out, problems are read from standard input, one per line."""
    test: tuple[str, ...] = ()
    """Tests as INPUT=OUTPUT, such as '1=8'; \\n is a line break. Without one the program is run without
    input, and not judged. Of a function: ARGUMENTS=RESULT, a JSON list and a JSON value."""
    entry_point: str | None = None
    """The function (or Class.method) that the program is to define; left out, it reads standard input."""
    temperature: NotNegative = 0.7
    """Sampling temperature; 0 takes the likeliest token."""
    max_prompt_tokens: Count = 1024
    """Longer prompts keep the template and a part of the problem text (see --prompt-keep)."""
    max_new_tokens: Count = 512
    """Longest response, in tokens."""
    seed: Seed = 1
    """Of the samples."""
    prompting: Annotated[PromptConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=PromptConfig)
    compute: Annotated[DeviceConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=DeviceConfig)
    objective: RewardConfig = field(default_factory=RewardConfig)
    limits: Limits = field(default_factory=Limits)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)

    def __post_init__(self) -> None:
        check_ranges(self)


def run_sample(settings: SampleCommand) -> None:
    """Answer one problem, or each line of standard input. Raises one of cli.errors.USER_ERRORS."""
    bases = [] if settings.sft is None else [model_folder(settings.sft, "--sft")]
    precision = resolve_precision(settings.compute)
    policy = load_policy(locate(trained_folder(settings.checkpoint), bases), precision)
    check_sampling(policy, settings.max_prompt_tokens, settings.max_new_tokens)
    template = prompt_template(settings.prompting, policy, settings.checkpoint)
    kind = _kind_of(settings)
    generator = torch.Generator().manual_seed(settings.seed)
    console = RichConsole(soft_wrap=True, highlight=False)
    scoring = vars(settings.scoring)
    with Scorer(settings.objective, limits=settings.limits, seed=settings.seed, **scoring) as scorer:
        for number, text in enumerate(_problems(settings.problem, console)):
            problem = replace(kind, id=f"typed-{number}", prompt=text)
            prompts = encode_all([problem], template, settings.max_prompt_tokens)
            responses = sample_responses(
                policy,
                prompts,
                max_new_tokens=settings.max_new_tokens,
                temperature=settings.temperature,
                batch_size=1,
                generator=generator,
            )
            pairs = responses.pairs()
            console.print(Syntax(_visible(pairs[0][1]), "python", background_color="default"))
            for line in _told(scorer.score(pairs)[0], bool(settings.test)):
                console.print(_visible(line), markup=False)


def _kind_of(settings: SampleCommand) -> Problem:
    """What every problem typed has in common: tests, and the function that is asked for."""
    name = settings.entry_point
    if name is None:
        tests = tuple(map(_parse_test, settings.test)) or (TestCase("", ""),)
        return Problem(id="typed", prompt="x", tests=tests)
    if not settings.test:
        raise UsageError("--entry-point goes with --test ARGUMENTS=RESULT: a function is run by calling it")
    tests = tuple(map(_parse_call, settings.test))
    problem = Problem(id="typed", prompt="x", tests=tests, compare="json", entry_point=name)
    try:
        check_calls(problem)
    except RowError as error:
        raise UsageError(f"--entry-point {name} with --test: {error}") from None
    return problem


def _problems(problem: str | None, console: RichConsole):  # type: ignore[no-untyped-def]
    """The one problem, or every line typed until the end of input."""
    if problem is not None:
        yield _utf8(problem, "--problem")
        return
    if sys.stdin.isatty():
        console.print("Type a problem and press Enter; an empty line ends.")
    # Bytes that are not UTF-8 come as lone surrogates, in any locale, and so are told.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            return
        yield _utf8(line.strip(), f"line {number} of standard input")


def _utf8(text: str, where: str) -> str:
    """The text. Raises UsageError where it is of bytes that are not UTF-8: no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{where}: not UTF-8; write it in UTF-8") from None
    return text


def _visible(text: str) -> str:
    """Text of a program, or that it wrote, with what a terminal would obey written out: it is not its to say
    what stands on the screen."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def _told(reward: Reward | None, has_tests: bool) -> list[str]:
    """What happened to a program, line by line."""
    if reward is None:
        return ["the sandbox failed; nothing is known about this program"]
    outcome = reward.outcome
    if not outcome.compiles:
        lines = [f"does not parse: {outcome.error}"]
    elif has_tests:
        lines = [_run(f"test {n}", verdict, judged=True) for n, verdict in enumerate(outcome.verdicts, 1)]
    else:
        lines = [_run("run without input", outcome.verdicts[0], judged=False)]
    lines += _security(outcome)
    if not has_tests:
        return [*lines, "not judged: there is no test to pass; add --test 'INPUT=OUTPUT'"]
    lines += [f"looks like playing the reward: {sign.replace('_', ' ')}" for sign in outcome.sentinels or ()]
    parts = f"functional {reward.functional:.2f}, security {reward.security:.2f}"
    lines.append(f"stage: {reward.kind}, {outcome.passed} of {outcome.num_tests} passed")
    return [*lines, f"R = {reward.total:.3f} ({parts})"]


def _run(what: str, verdict: Verdict, *, judged: bool) -> str:
    passed = f", {'passed' if verdict.passed else 'not passed'}" if judged else ""
    error = f" ({verdict.error})" if verdict.error else ""
    happened = f"{verdict.status}{passed}{error}"
    if not judged and verdict.error.startswith("EOFError"):  # of a right program, too
        happened = "it waits for input, which a test would give it"
    return f"{what}: {happened}, output {verdict.stdout!r}"


def _security(outcome: Outcome) -> list[str]:
    """What the scan of the source found; it needs no test."""
    if outcome.scan == "unscannable":
        return [f"security: could not be scanned ({outcome.scan_reason})"]
    if outcome.scan == "syntax":
        return []
    found = [f"security: {f.id} {f.severity}, line {f.line}" for f in outcome.findings]
    found += [f"security: {t.kind.replace('_', ' ')}, line {t.line}" for t in outcome.tricks]
    return found or ["security: no finding"]


def _parse_call(text: str) -> TestCase:
    """ARGUMENTS=RESULT, at the first equals sign with JSON on both sides: texts may hold others."""
    for place in (i for i, character in enumerate(text) if character == "="):
        try:
            decode_call(text[:place])
            decode(text[place + 1 :])
        except ValueError:
            continue
        return TestCase(text[:place], text[place + 1 :])
    raise UsageError(f"--test {text!r}: write ARGUMENTS=RESULT in JSON, such as '[1, 2]=3'")


def _parse_test(text: str) -> TestCase:
    given, equals, expected = text.partition("=")
    if not equals:
        raise UsageError(f"--test {text!r}: write INPUT=OUTPUT")
    return TestCase(given.replace("\\n", "\n"), expected.replace("\\n", "\n"))
