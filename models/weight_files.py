"""The safetensors files of a model folder: whether they are there, and whole, before anything is loaded."""

import json
from pathlib import Path

import safetensors

from models.errors import ModelError

_INDEX = "model.safetensors.index.json"
_POINTER = b"version https://git-lfs"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def weight_files(folder: Path) -> list[Path]:
    """The weights of a model folder, in several files where its index says so.

    Raises:
        ModelError: there are none, one is missing or cut short, or what is there is something else.
    """
    files = sorted(folder.glob("*.safetensors"))
    if (folder / _INDEX).is_file():
        named = _named(folder / _INDEX)
        if missing := sorted(named - {file.name for file in files}):
            raise ModelError(
                f"{folder}: {missing[0]} is missing, of {len(named)} files of weights; get the model again"
            )
    if not files:
        raise ModelError(f"{folder}: no safetensors weights there; {_instead(folder)}")
    for file in files:
        _check_whole(file)
    return files


def _named(index: Path) -> set[str]:
    """The files that an index names."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: damaged or cut short; get it again") from error


def _check_whole(file: Path) -> None:
    """Raise ModelError unless the file is as long as its header says."""
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise ModelError(
                f"{file}: stands for weights in Git LFS, which are not here; git lfs pull gets them"
            )
    try:
        with safetensors.safe_open(file, framework="pt"):
            pass
    except safetensors.SafetensorError as error:
        raise ModelError(f"{file}: cannot be loaded, damaged or cut short ({error}); get it again") from error


def _instead(folder: Path) -> str:
    """What to do where there are none."""
    if pickled := sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern)):
        return f"{pickled[0]} is not read, for a pickle runs code; use a copy of the model in safetensors"
    return "name a model folder, or the run folder of `train.py sft`"
