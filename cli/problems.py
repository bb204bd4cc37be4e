"""Where problems come from: a file, or the embedded corpus by name."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cli.errors import UsageError
from data import DataError, Problem, load_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split
from models.errors import UnwritableText
from models.policy import Policy
from models.storage import frequency_limit, position_limit
from models.template import PromptForm
from ppo.prompts import EncodedPrompt, PromptConfig, PromptTemplate, choose_form, encode_prompt
from reward import parse_policy
from reward.budget import unfit
from reward.contradictions import contradiction
from sandbox import Limits

EMBEDDED = "tiny/"


def read_problems(source: str, corpus: TinyCorpusConfig, *, untested: bool = False) -> list[Problem]:
    """Problems of a file, or of a split of the embedded corpus (`tiny/rl`, `tiny/heldout`, …).

    DataError if the file cannot be used, also if no program could pass all tests of one of its problems, or
    if one has no tests and none such are wanted (`untested`: tasks that measure security alone).
    """
    if not source.startswith(EMBEDDED) or Path(source).exists():
        problems = load_problems(Path(source), untested=untested)
        refuse_contradictions(problems, source)
        return problems
    try:
        return tiny_split(source.removeprefix(EMBEDDED), corpus)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{source}: no such split of the embedded corpus: {error}") from error


def refuse_contradictions(problems: Iterable[Problem], source: str) -> None:
    """Raise DataError where no program could pass all tests of one of the problems."""
    for problem in problems:
        if reason := contradiction(problem):
            raise DataError(f"{source}: problem {problem.id!r}: {reason}; correct or remove one of them")


def within_limits(problems: Sequence[Problem], limits: Limits, source: str) -> tuple[list[Problem], str]:
    """The problems that some program can pass within the limits, and what to say of the others.

    Those are left out: what nothing can pass would count as failed for ever. UsageError if none is left.
    """
    kept, reason = [], ""
    for problem in problems:
        why = unfit(problem, parse_policy(problem.compare), limits)
        if why is None:
            kept.append(problem)
        else:
            reason = reason or f"problem {problem.id!r}, {why}"
    if problems and not kept:
        raise UsageError(f"{source}: no problem fits the limits: {reason}")
    out = len(problems) - len(kept)
    return (
        kept,
        f"{out} of {len(problems)} problems left out that nothing can pass ({reason})" if out else "",
    )


def prompt_template(
    config: PromptConfig, policy: Policy, where: Path, recorded: PromptForm | None = None
) -> PromptTemplate:
    """How problems are put to a policy, which is told and will write it into its checkpoints.

    `where`: the model, for messages; `recorded`: in place of what stands beside it.

    Raises:
        ModelError: the settings are others than it was trained with, or its template cannot be used.
    """
    policy.ask_as(choose_form(config, recorded or policy.prompt, policy.tokenizer, where))
    assert policy.prompt is not None
    return PromptTemplate(policy.codec, policy.prompt)


class EncodedProblems(NamedTuple):
    """Problems as a model reads them, and what happened on the way."""

    prompts: list[EncodedPrompt]
    long: int
    """Problems over the limit: cut, or left out."""
    unwritable: int
    """Problems left out because a stop token stands in their text and cannot be written as text."""


def encode_problems(
    problems: Sequence[Problem], template: PromptTemplate, max_tokens: int, *, drop_long: bool
) -> EncodedProblems:
    """Prompts as ids. Those over the limit are cut, or left out with `drop_long`."""
    if not problems:
        raise UsageError("there is no problem to work on")
    encoded, reason = [], ""
    for problem in problems:
        try:
            encoded.append(encode_prompt(template, problem, max_tokens))
        except UnwritableText as error:
            reason = str(error)
        except ValueError as error:
            raise UsageError(str(error)) from error
    if not encoded:
        raise UsageError(f"every problem has to be left out: {reason}")
    long = sum(prompt.truncated for prompt in encoded)
    kept = [prompt for prompt in encoded if not (drop_long and prompt.truncated)]
    if not kept:
        raise UsageError(f"every problem is longer than {max_tokens} tokens; leave --drop-long out")
    return EncodedProblems(kept, long, len(problems) - len(encoded))


def encode_all(problems: Sequence[Problem], template: PromptTemplate, max_tokens: int) -> list[EncodedPrompt]:
    """Prompts as ids, none left out: models are compared on the same problems.

    Raises:
        UsageError: there is none, a template is too long, or a stop token stands in a problem's text.
    """
    encoded = encode_problems(problems, template, max_tokens, drop_long=False)
    if encoded.unwritable:
        read = {prompt.problem.id for prompt in encoded.prompts}
        missing = next(problem.id for problem in problems if problem.id not in read)
        raise UsageError(
            f"problem {missing}: its text holds a stop token of the model, which this tokenizer cannot write "
            "as text; leave the problem out"
        )
    return encoded.prompts


def check_length(config: Any, tokens: int, told: str) -> None:
    """Raise UsageError unless a model of this configuration has positions for `tokens`, of one kind.

    `told` says where they come from.
    """
    limit = position_limit(config)
    if limit is not None and tokens > limit:
        raise UsageError(f"the model has {limit} positions, fewer than {told}")
    switch = frequency_limit(config)
    if switch is not None and tokens > switch:
        raise UsageError(
            f"the model has {switch} positions before its frequencies change for a whole batch (LongRoPE), "
            f"fewer than {told}"
        )


def check_sampling(policy: Policy, prompt_tokens: int, new_tokens: int) -> None:
    """Raise UsageError unless the policy has positions for the longest prompt and response together."""
    check_positions(policy.network.config, prompt_tokens, new_tokens)


def check_positions(config: Any, prompt_tokens: int, new_tokens: int) -> None:
    """The same of a configuration."""
    told = (
        f"--max-prompt-tokens {prompt_tokens} and --max-new-tokens {new_tokens} together; lower one of them"
    )
    check_length(config, prompt_tokens + new_tokens, told)


_KEPT = {"end": "the end", "front": "the front", "both": "both ends"}


def encoding_note(
    encoded: EncodedProblems, total: int, max_tokens: int, template: PromptTemplate, *, drop_long: bool
) -> str:
    """What happened to prompts over the limit, and to those that cannot be written, for the reader; "" where
    all are as they were."""
    did = "left out" if drop_long else f"kept with {_KEPT[template.form.prompt_keep]} of their text"
    notes = [
        f"{encoded.long} of {total} prompts over {max_tokens} tokens, {did}" if encoded.long else "",
        f"{encoded.unwritable} whose text holds a stop token left out" if encoded.unwritable else "",
    ]
    return "; ".join(filter(None, notes))
