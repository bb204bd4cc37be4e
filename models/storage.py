"""Model folders on disk: loading, hashing, and writing so that a crash leaves the old or the new."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from models.errors import ModelError


def load_model(path: str | Path, dtype: torch.dtype) -> PreTrainedModel:
    """A causal language model from a folder (or a hub name), weights in `dtype`, from safetensors only.

    Raises:
        ModelError: missing, damaged, not a causal language model, or no safetensors.
    """
    _refuse_missing_folder(path)
    try:
        # An explicit dtype: "auto" would load what the checkpoint was saved in, bfloat16 on a V100.
        return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"{path}: cannot be loaded as a causal language model: {_first_line(error)}"
        ) from error


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder (or hub name), with an EOS token.

    Raises:
        ModelError: missing, damaged, or without an EOS token (a policy could never end a program).
    """
    _refuse_missing_folder(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: no usable tokenizer: {_first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{path}: the tokenizer has no EOS token; set eos_token in tokenizer_config.json")
    return tokenizer


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Raise ModelError where the tokenizer has ids for which the model has no embedding.

    Fewer ids than embeddings are usual: tables are padded to a round number.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise ModelError(
            f"{path}: the tokenizer has ids up to {highest}, the model embeddings for {rows}: they do not "
            "belong together; put the model's own tokenizer files there"
        )


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends a response: the tokenizer's EOS and those of the model's generation settings."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    extra = configured if isinstance(configured, list) else [configured]
    return sorted({int(tokenizer.eos_token_id), *(int(i) for i in extra if i is not None)})


def weight_hash(folder: Path) -> str:
    """sha256 over the safetensors files of a model folder, names included.

    Raises:
        ModelError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: no safetensors weights there; run `train.py sft` first")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(file_hash(file).encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of one file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A folder to fill that takes its final name only when the block ends well and all is on disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for path in [*partial.rglob("*"), partial]:
        _fsync(path)
    old = target.with_name(target.name + ".old.partial")
    if target.exists():
        # Moved away whole: removed file by file, it would be half a folder of the final name meanwhile.
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    partial.rename(target)
    _fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON under a temporary name, flush it to disk, rename it."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        _fsync(partial)
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what safetensors raises for a full disk into the OSError that it was."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise OSError(f"{path}: {_first_line(error)}") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors. Raises OSError where the disk refuses."""
    with disk_errors(path):
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors. Raises ModelError where the file is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path}: missing or damaged: {_first_line(error)}") from error


def _refuse_missing_folder(path: str | Path) -> None:
    # A hub name is "name" or "owner/name"; anything else that is not there is a mistyped path, and the
    # hub's own message about it would send the reader the wrong way.
    looks_local = isinstance(path, Path) or str(path).startswith((".", "/")) or str(path).count("/") > 1
    if looks_local and not Path(path).is_dir():
        raise ModelError(f"{path}: no such model folder")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
