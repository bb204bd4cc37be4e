"""What a path that a user names is, and what to say where another kind of folder is wanted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    XetDownloadError,
)

from cli.errors import UsageError
from models.sft_run import KIND
from models.storage import load_config
from ppo.run.folder import numbered

Kind = Literal[
    "sft run", "ppo run", "demo", "checkpoint", "sft checkpoint", "model", "adapter", "other", "missing"
]

# Files of a hub repository that make a model folder; weights in other formats stay there.
_HUB_ERRORS = (HFValidationError, EntryNotFoundError, HfHubHTTPError, HTTPError, XetDownloadError, OSError)
"""What goes wrong with a name, an answer, a connection, a download, a disk."""

_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


_NO_MODEL = "this SFT run has no model yet; let it end, or go on with train.py sft --resume {}"
_ADAPTER = "an adapter by itself, for peft; name the checkpoint it was made from, or export that with --merge"
_TO_GO_ON = (
    "a checkpoint of SFT, from which only its run goes on: train.py sft --resume {0}; its model is {0}"
)


def kind_of(path: Path) -> Kind:
    """By what is in it."""
    if not path.is_dir():
        return "missing"
    if (path / "state.json").is_file():  # before a model: a fully tuned checkpoint holds one
        return "sft checkpoint" if _is_of_sft(path / "state.json") else "checkpoint"
    section = _section(path / "config.yaml")
    if section == "sft" or (path / "model" / "config.json").is_file():
        return "sft run"
    if section == "ppo" or numbered(path / "checkpoints"):
        return "ppo run"
    if (path / "sft").is_dir() and (path / "ppo").is_dir():
        return "demo"
    if (path / "config.json").is_file():
        return "model"
    return "adapter" if (path / "adapter_config.json").is_file() else "other"


def model_folder(name: str | Path, flag: str) -> Path:
    """The folder of a model: a local one, of an SFT run its model/, or a hub name's in the hub's cache.

    `flag`: what the user named it with, for messages.

    Raises:
        UsageError: it is a folder of another kind, or neither here nor on the hub.
    """
    path = Path(name)
    match kind_of(path):
        case "ppo run" | "checkpoint":
            raise UsageError(
                f"{flag} {path}: PPO weights, not a model; --init starts from them, {flag} names the model "
                f"that they stand on{_told_base(path)}"
            )
        case "demo":
            raise UsageError(f"{flag} {path}: a demo, which holds two runs; its model is {path / 'sft'}")
        case "sft checkpoint":
            raise UsageError(f"{flag} {path}: {_TO_GO_ON.format(path.absolute().parents[1])}")
        case "sft run":
            if not (path / "model").is_dir():
                raise UsageError(f"{flag} {path}: {_NO_MODEL.format(path)}")
            return path / "model"
        case "adapter":
            raise UsageError(f"{flag} {path}: {_ADAPTER}")
        case "model" | "other":
            return path
        case "missing":
            return _from_hub(str(name), f"{flag} {name}: no such model folder")


def model_config(name: str | Path, flag: str) -> Any:
    """The configuration of a model (see `model_folder`); of one on the hub nothing else is downloaded.

    Raises:
        UsageError: it is a folder of another kind, or neither here nor on the hub.
        ModelError: the configuration cannot be used.
    """
    if kind_of(Path(name)) != "missing":
        return load_config(model_folder(name, flag))
    return load_config(_from_hub(str(name), f"{flag} {name}: no such model folder", ("config.json",)))


def trained_folder(path: Path) -> Path:
    """What can be evaluated or sampled: a checkpoint, a run, or the folder of a model (by a hub name too).

    Raises:
        UsageError: it is something else, or neither here nor on the hub.
    """
    match kind_of(path):
        case "demo":
            raise UsageError(f"{path}: a demo, which holds two runs; name {path / 'sft'} or {path / 'ppo'}")
        case "sft run" if not (path / "model").is_dir():
            raise UsageError(f"{path}: {_NO_MODEL.format(path)}")
        case "sft checkpoint":
            raise UsageError(f"{path}: {_TO_GO_ON.format(path.absolute().parents[1])}")
        case "adapter":
            raise UsageError(f"{path}: {_ADAPTER}")
        case "missing":
            return _from_hub(str(path), f"{path}: no such checkpoint")
        case _:
            return path


def check_init(path: Path) -> None:
    """Refuse what holds no PPO weights."""
    match kind_of(path):
        case "sft run" | "model":
            raise UsageError(
                f"--init {path}: a model before PPO; --sft {path} starts from it, without --init"
            )
        case "demo":
            raise UsageError(f"--init {path}: a demo, which holds two runs; its PPO run is {path / 'ppo'}")
        case "adapter":
            raise UsageError(f"--init {path}: {_ADAPTER}")
        case _:
            pass  # opening it tells the rest


def check_resume(path: Path, command: str) -> None:
    """Refuse what is no run of the command, "sft" or "ppo"."""
    kind = kind_of(path)
    if kind == f"{command} run":
        return
    match kind:
        case "ppo run":
            advice = f"a PPO run; go on with train.py ppo --resume {path}"
        case "sft run":
            advice = (
                f"an SFT run; go on with train.py sft --resume {path}, or train its model with train.py ppo "
                f"--sft {path}"
            )
        case "model":
            how = "sft --model" if command == "sft" else "ppo --sft"
            advice = f"a model, not a run; train it with train.py {how} {path}"
        case "demo":
            advice = f"a demo, which holds two runs; the one to go on with is {path / command}"
        case "checkpoint" | "sft checkpoint":
            advice = f"a checkpoint; name the run that it is in: {path.absolute().parents[1]}"
        case _:
            advice = "no run there (config.yaml is missing)"
    raise UsageError(f"--resume {path}: {advice}")


def _from_hub(name: str, missing: str, files: Sequence[str] = _MODEL_FILES) -> Path:
    """The model folder of a hub name in the hub's cache, downloaded where it is not there yet.

    `missing`: what to say where there is none. `files`: patterns of those that are needed.
    """
    # "name" or "owner/name"; anything else, and what lies in a folder that is here, is a mistyped path.
    owner, slash, _ = name.partition("/")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or (slash and Path(owner).is_dir()):
        raise UsageError(missing)
    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except GatedRepoError as error:
        raise UsageError(
            f"{missing}, and on the hub one has to be let in: {_words(error)}; ask there, then log in with "
            "`hf auth login`"
        ) from error
    except _HUB_ERRORS as error:
        raise UsageError(f"{missing}, and none of this name from the hub: {_words(error)}") from error


def _words(error: BaseException) -> str:
    """What the hub says, in one line; its first line alone is often but a status."""
    return " ".join(str(error).split()) or type(error).__name__


def _told_base(path: Path) -> str:
    """Where the SFT model of a run or checkpoint is, if it can be told."""
    folders = [path] if (path / "state.json").is_file() else numbered(path / "checkpoints")[-1:]
    try:
        relative = json.loads((folders[0] / "state.json").read_text(encoding="utf-8"))["sft"]["path"]
        return f": {(folders[0].resolve() / relative).resolve()}"
    except (IndexError, OSError, ValueError, TypeError, KeyError):
        return ""


def _is_of_sft(state: Path) -> bool:
    """Whether a checkpoint is one of SFT, which holds no policy."""
    try:
        return bool(json.loads(state.read_text(encoding="utf-8")).get("kind") == KIND)
    except (OSError, ValueError, AttributeError):
        return False  # damaged: reading it will say so


def _section(config: Path) -> str:
    """The first section of a run's settings; "" where there are none."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    return next(iter(content), "") if isinstance(content, dict) else ""
