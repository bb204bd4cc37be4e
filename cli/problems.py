"""Where problems come from: a file, or the embedded corpus by name."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from cli.errors import UsageError
from data import Problem, load_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split
from models.policy import Policy
from ppo.prompts import EncodedPrompt, encode_prompt

EMBEDDED = "tiny/"


def read_problems(source: str, corpus: TinyCorpusConfig) -> list[Problem]:
    """Problems of a file, or of a split of the embedded corpus (`tiny/rl`, `tiny/heldout`, …)."""
    if not source.startswith(EMBEDDED) or Path(source).exists():
        return load_problems(Path(source))
    try:
        return tiny_split(source.removeprefix(EMBEDDED), corpus)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{source}: no such split of the embedded corpus: {error}") from error


def encode_problems(
    problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase, max_tokens: int, *, drop_long: bool
) -> tuple[list[EncodedPrompt], int]:
    """Prompts as ids, and how many were over the limit: cut at the front, or left out with `drop_long`."""
    if not problems:
        raise UsageError("there is no problem to work on")
    try:
        encoded = [encode_prompt(tokenizer, problem, max_tokens) for problem in problems]
    except ValueError as error:
        raise UsageError(str(error)) from error
    long = sum(prompt.truncated for prompt in encoded)
    if drop_long:
        encoded = [prompt for prompt in encoded if not prompt.truncated]
        if not encoded:
            raise UsageError(f"every problem is longer than {max_tokens} tokens; leave --drop-long out")
    return encoded, long


def check_length(policy: Policy, prompt_tokens: int, new_tokens: int) -> None:
    """Raise UsageError unless the model has positions for the longest prompt and response together."""
    limit = getattr(policy.network.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and prompt_tokens + new_tokens > limit:
        raise UsageError(
            f"the model has {limit} positions, fewer than --max-prompt-tokens {prompt_tokens} and "
            f"--max-new-tokens {new_tokens} together; lower one of them"
        )


def long_note(long: int, total: int, max_tokens: int, *, drop_long: bool) -> str:
    """What happened to prompts over the limit, for the reader."""
    did = "left out" if drop_long else "kept with the end of their text"
    return f"{long} of {total} prompts over {max_tokens} tokens, {did}"
