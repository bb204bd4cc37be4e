"""Model folders on disk: loading, hashing, and writing so that a crash leaves the old or the new."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from models.errors import ModelError, out_of_memory
from models.weight_files import weight_files

_TOKENIZER_FILES = "tokenizer.json and tokenizer_config.json of the model belong there"

# What transformers says of some mistakes, in words that tell what is wrong.
_IN_OTHER_WORDS = {
    "ignore_mismatched_sizes": "its weights have other shapes than its config.json says",
    "Couldn't instantiate the backend tokenizer": "there is none",
    "Unrecognized configuration class": "its architecture is none of a causal language model",
}


def load_model(path: str | Path, dtype: torch.dtype) -> PreTrainedModel:
    """A causal language model from a folder (or a hub name), weights in `dtype`, from safetensors only.

    Raises:
        ModelError: missing, damaged or quantised, not a causal language model, or no safetensors.
    """
    config = load_config(path)
    if Path(path).is_dir():
        weight_files(Path(path))
    try:
        # An explicit dtype: "auto" would load what the checkpoint was saved in, bfloat16 on a V100.
        model, found = AutoModelForCausalLM.from_pretrained(
            path, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, StrictDataclassError) as error:
        if out_of_memory(error):
            raise
        raise ModelError(f"{path}: cannot be loaded as a causal language model: {_reason(error)}") from error
    if missing := sorted(found["missing_keys"]):
        raise ModelError(f"{path}: {len(missing)} weights are missing ({missing[0]}, …); get the whole model")
    return model


def load_config(path: str | Path) -> Any:
    """The configuration of a model folder, as transformers' AutoConfig gives it.

    Raises:
        ModelError: it is missing, damaged, or of no architecture that is known here; or quantised.
    """
    _refuse_missing_folder(path)
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ModelError(f"{path}: no usable config.json: {_reason(error)}") from error
    _refuse_quantised(path, config)
    return config


def position_limit(config: Any) -> int | None:
    """The most tokens that a model of this configuration has positions for; None where there is no limit."""
    config = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    return next((limit for name in names if (limit := getattr(config, name, None)) is not None), None)


def frequency_limit(config: Any) -> int | None:
    """The most tokens that a text may have before LongRoPE takes other frequencies; None: they never change.

    transformers takes those of long texts for a whole batch as soon as one text in it is long, and in
    decoding from one token to the next: what a text is worth would depend on its neighbours.
    """
    ropes = getattr(config.get_text_config(), "rope_parameters", None) or {}
    # One for all layers, or one for each kind of layer, by its name.
    each = [ropes, *(rope for rope in ropes.values() if isinstance(rope, dict))]
    switching = [rope for rope in each if rope.get("rope_type") == "longrope"]
    return min((rope["original_max_position_embeddings"] for rope in switching), default=None)


def _refuse_quantised(path: str | Path, config: Any) -> None:
    """Raise ModelError where the weights are no plain floats: adapters could not be merged into them."""
    for each in (config, config.get_text_config()):
        for key in ("quantization_config", "compression_config"):
            if (quantised := getattr(each, key, None)) is not None:
                method = dict(quantised).get("quant_method") if isinstance(quantised, dict) else None
                raise ModelError(
                    f"{path}: its weights are quantised ({method or key}), and adapters are merged into "
                    "float weights; use the model it was made from"
                )


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder (or hub name), with an EOS token.

    Raises:
        ModelError: missing, damaged, or without an EOS token (a policy could never end a program).
    """
    _refuse_missing_folder(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ModelError(f"{path}: no usable tokenizer: {_reason(error)}; {_TOKENIZER_FILES}") from error
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


def weight_hash(folder: Path) -> str:
    """sha256 over the safetensors files of a model folder, names included.

    Raises:
        ModelError: there are none, or one is missing or damaged.
    """
    digest = hashlib.sha256()
    for file in weight_files(folder):
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
    recover(target)
    partial = _partial(target)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    readers = partial.stat().st_mode & 0o666
    for path in [*partial.rglob("*"), partial]:
        if path.is_file():
            path.chmod(readers)  # as readable as its folder: safetensors writes for its owner alone
        _fsync(path)
    if target.exists():
        _replace(partial, target)
    else:
        partial.rename(target)
        _fsync(target.parent)


def recover(target: Path) -> None:
    """Finish or undo what a process left that died while it replaced `target`. For who writes there alone.

    `target` is whole afterwards, if it was there before; `….old` is gone.
    """
    old = _old(target)
    if old.is_dir() and not target.exists():
        old.rename(target)
    elif old.is_dir():
        partial = _partial(target)
        shutil.rmtree(partial, ignore_errors=True)
        old.rename(partial)
        shutil.rmtree(partial)


def _replace(partial: Path, target: Path) -> None:
    """Put the folder `partial` in the place of `target`. Whatever ends the process, a whole copy is left.

    Linux can exchange two names in one step. Where the file system cannot, there is a moment with neither
    name: `….old` is the whole copy then, which readers know and `recover` puts back.
    """
    try:
        _exchange(partial, target)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        target.rename(_old(target))
        partial.rename(target)
        _old(target).rename(partial)
    _fsync(target.parent)
    # Under a name that nobody reads: removed file by file, it is half a folder meanwhile.
    shutil.rmtree(partial, ignore_errors=True)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # <fcntl.h>, <linux/fs.h>
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV}


def _exchange(one: Path, other: Path) -> None:
    """Exchange two names in one step: renameat2(2). OSError with ENOSYS where the C library has no such."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = (os.fsencode(one), os.fsencode(other))
    if function(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _old(target: Path) -> Path:
    return target.with_name(target.name + ".old")


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
    """Turn what safetensors and tokenizers raise for a full disk into the OSError that it was."""
    try:
        yield
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        # Of tokenizers it is a bare Exception, which any other mistake could be, too.
        if number is not None and type(error) in (safetensors.SafetensorError, Exception):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        if isinstance(error, safetensors.SafetensorError):
            raise OSError(f"{path}: {_first_line(error)}") from error
        raise


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, marked as those of peft are. Raises OSError where the disk refuses."""
    with disk_errors(path):
        plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        save_file(plain, path, {"format": "pt"})


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


def _reason(error: BaseException) -> str:
    """Why a library refused, in one line."""
    text = " ".join(str(error).split())
    known = next((words for sign, words in _IN_OTHER_WORDS.items() if sign in text), None)
    # A check of a configuration's values says which one only in its second line.
    return known or (text if isinstance(error, StrictDataclassError) else _first_line(error))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
