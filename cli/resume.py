"""Going on with a run: from which checkpoint, and whether it is still the same run."""

import errno
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from cli.errors import UsageError, one_line
from cli.places import check_resume
from cli.settings import flat, load_preset
from models.checkpoints import Saved, library_versions
from models.errors import ModelError, out_of_memory
from models.policy import Policy
from models.sft_data import Demonstration, fingerprint
from models.template import DAY, PromptForm
from ppo.errors import TrainingError
from ppo.prompts import EncodedPrompt, PromptTemplate

# Where things are, and how the command was called, say nothing of what the run is.
_CALL = {"config", "sft", "init", "problems", "validation", "reward", "out", "overwrite", "resume"}
_CALL |= {"allow_changes", "reward_seconds", "model", "from_samples", "tracker"}

_FULL = {errno.ENOSPC, errno.EDQUOT}

# Keys of what the run reads, besides its settings.
CONTENT = ("sft", "tokenizer", "template", "words", "problems", "validation", "reward")
SFT_CONTENT = ("model", "tokenizer", "template", "problems", "validation")


T = TypeVar("T")


def resume_defaults(folder: Path, command: str, kind: type[T]) -> T:
    """The settings a run was started with. Raises UsageError where there is no such run."""
    check_resume(folder, command)
    if not (folder / "config.yaml").is_file():
        raise UsageError(f"--resume {folder}: no run there (config.yaml is missing)")
    return load_preset(folder / "config.yaml", command, kind)


def describe_run(
    settings: Mapping[str, Any],
    policy: Policy,
    template: PromptTemplate,
    problems: Sequence[EncodedPrompt],
    validation: Sequence[EncodedPrompt],
    reward: str | None,
) -> dict[str, Any]:
    """What decides the course of a run, flat: its settings by flag name, and hashes of what it reads.

    `settings`: those of the command, as plain values; `reward`: file.py:function in place of the project's.
    """
    return _decisive(settings) | {
        "sft": policy.sft.sha256 if policy.sft else None,
        "tokenizer": _tokenizer_hash(policy.tokenizer),
        "template": _form_hash(template.form),
        # What the form comes to: of a chat template it says no more than that there is one.
        "words": _sha256(json.dumps(template.words)),
        "problems": _problems_hash(problems),
        "validation": _problems_hash(validation),
        "reward": _reward_hash(reward),
    }


def describe_sft(
    settings: Mapping[str, Any],
    base: str | None,
    tokenizer: PreTrainedTokenizerBase,
    form: PromptForm,
    train: Sequence[Demonstration],
    validation: Sequence[Demonstration],
) -> dict[str, Any]:
    """The same of an SFT run. `base`: hash of the model it started from."""
    return _decisive(settings) | {
        "model": base,
        "tokenizer": _tokenizer_hash(tokenizer),
        "template": _form_hash(form),
        "problems": fingerprint(train),
        "validation": fingerprint(validation),
    }


def check_changes(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    allowed: Sequence[str],
    defaults: Mapping[str, Any],
    content: Sequence[str] = CONTENT,
) -> None:
    """Raise UsageError where a resumed run is not the one it was, but for the keys in `allowed`.

    `then`, `now`: of `describe_run`. A setting that `then` does not know came with a later version: the run
    went on under its default. `defaults`: settings of the command by default, as plain values. `content`:
    which keys are what the run reads, besides its settings.
    """
    if unknown := [key for key in allowed if key not in now]:
        raise UsageError(
            f"--allow-changes {unknown[0]}: no such key; keys are settings (learning_rate, "
            f"objective.alpha, …) and {', '.join(content)}"
        )
    had = {**_decisive(defaults), **then}
    # What the run reads has no default: where an old checkpoint has no hash of it, nothing is compared.
    changed = [key for key in now if key in had and now[key] != had[key] and key not in allowed]
    if changed:
        key = changed[0]
        what = (
            f"{key}: not what it was when the run was saved"
            if key in content
            else f"{key} is {json.dumps(now[key])}, the run has {json.dumps(had[key])}"
        )
        more = f" (and {', '.join(changed[1:])})" if changed[1:] else ""
        raise UsageError(f"{what}{more}; insist with --allow-changes {' '.join(changed)}")


@contextmanager
def told_where_to_go_on(
    command: str, out: Path, saved: Callable[[Path], Sequence[Path]], less_memory: str
) -> Iterator[None]:
    """Name the way on, or the last good checkpoint, in whatever ends a training before its time.

    `saved`: the whole checkpoints in a folder, the newest last. `less_memory`: what to do where it ran out,
    with {out} for the run.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: train.py {command} --resume {out}") from None
    except (TrainingError, ModelError, OSError) as error:
        whole = saved(out / "checkpoints")
        last = f"last good checkpoint: {whole[-1] if whole else 'none yet'}"
        full = isinstance(error, OSError) and error.errno in _FULL
        advice = f"; make room, and go on with: train.py {command} --resume {out}" if full else ""
        raise TrainingError(f"{one_line(error)}; {last}{advice}") from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(f"out of memory: {less_memory.replace('{out}', str(out))}") from error


def resuming(resumed: Saved) -> list[str]:
    """What a run that goes on says first."""
    note = version_note(resumed.state["versions"])
    return [f"resuming from {resumed.path.name}", *([note] if note else [])]


def version_note(then: Mapping[str, str]) -> str:
    """A line for the reader where the libraries are others now; empty where they are the same."""
    now = library_versions()
    changed = [f"{name} {then.get(name)} -> {now[name]}" for name in now if now[name] != then.get(name)]
    return f"libraries changed, last digits may differ: {', '.join(changed)}" if changed else ""


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that decide the course of a run, flat."""
    return {key: value for key, value in flat(settings).items() if key not in _CALL}


def _problems_hash(prompts: Sequence[EncodedPrompt]) -> str:
    """Of everything that a problem is scored by, and of their order, which the sampler's place counts in."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(json.dumps(asdict(prompt.problem), sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    content = {"vocabulary": tokenizer.get_vocab(), "special": tokenizer.special_tokens_map}
    return _sha256(json.dumps(content, sort_keys=True, default=str))


def _form_hash(form: PromptForm) -> str:
    content = asdict(form)
    if form.date == DAY:
        del content["date"]  # as runs of before there was one have it
    return _sha256(json.dumps(content))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _reward_hash(spec: str | None) -> str | None:
    if spec is None:
        return None
    path, _, function = spec.rpartition(":")
    return hashlib.sha256(Path(path).read_bytes() + function.encode()).hexdigest()
