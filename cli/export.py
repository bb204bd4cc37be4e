"""`train.py export`: a checkpoint as others load it, a whole model or an adapter, with a model card."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from cli.console import Console
from cli.errors import UsageError
from cli.lock import locked
from cli.model_card import Form, Written, model_card
from cli.origin import Origin
from cli.places import model_folder, trained_folder
from cli.runs import EXPORT, check_free
from models.errors import ModelError
from models.export import Readback, base_of, export_adapter, export_whole, stored_dtype
from models.policy import Policy
from models.precision import DTYPES, Precision
from models.storage import atomic_folder, file_hash, write_json
from ppo.run.checkpoint import load_policy, locate
from ppo.run.folder import Checkpoint

_EXACT = Precision(torch.device("cpu"), torch.float32)
"""Adapters are merged on the CPU in float32, wherever and in whatever they were trained."""


@dataclass(frozen=True)
class ExportCommand:
    """Write a checkpoint as others load it: an adapter for peft, or (--merge) a whole model."""

    checkpoint: tyro.conf.Positional[Path | None] = None
    """PPO checkpoint or run (its best checkpoint), SFT run, or model."""
    out: Path | None = None
    """Folder to write."""
    merge: bool = False
    """Fold the adapter into the weights: one model for transformers and vLLM, which needs no other. Where all
    weights were trained, that is the only form."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of what is written. auto: for a model that of the base; for an adapter float32."""
    sft: Path | None = None
    """SFT run or model (or hub name) that a checkpoint stands on that was copied and cannot find it."""
    evaluation: Path | None = None
    """Result of evaluate.py for the model card. Left out: evaluation.json of the run or beside it, if it is
    of this run."""
    overwrite: bool = False
    """Replace an export that is there already."""


def run_export(settings: ExportCommand) -> None:
    """Write it, all or not at all. Raises one of cli.errors.USER_ERRORS."""
    if settings.checkpoint is None:
        raise UsageError("name a checkpoint or a run to export")
    if settings.out is None:
        raise UsageError("--out DIR is needed: the folder to write")
    bases = [] if settings.sft is None else [model_folder(settings.sft, "--sft")]
    found = locate(trained_folder(settings.checkpoint), bases)
    with locked(settings.out):
        inputs = (settings.checkpoint, settings.sft, settings.evaluation)
        check_free(settings.out, files=_files(settings.out), overwrite=settings.overwrite, inputs=inputs)
        with Console("export", 1) as console:
            console.say(_write(settings, found, settings.out))


def _write(settings: ExportCommand, found: Checkpoint | Path, out: Path) -> str:
    """Write the folder; a line about it."""
    policy = load_policy(found, _EXACT)
    assert policy.sft is not None
    state: dict[str, Any] = found.state if isinstance(found, Checkpoint) else {}
    place = found.path if isinstance(found, Checkpoint) else policy.sft.path
    form: Form = "adapter" if policy.uses_lora and not settings.merge else "model"
    dtype, base = _dtype(settings, form, policy), base_of(policy.sft.path)
    name = str(dtype).removeprefix("torch.")
    with atomic_folder(out) as partial:
        if form == "adapter":
            read = export_adapter(partial, policy, dtype)
        else:
            read = export_whole(partial, policy, dtype, (state.get("setup") or {}).get("temperature"))
        written = Written(form, name, base, policy.prompt, read)
        card = model_card(written, Origin(place, state, policy.sft.path, settings.evaluation))
        (partial / "README.md").write_text(card, encoding="utf-8")
        content = {
            "format": 1,
            "form": form,
            "dtype": name,
            "checkpoint": str(place),
            "iteration": state.get("iteration"),
            "base": {"name": base.name, "revision": base.revision, "sha256": policy.sft.sha256},
            "readback": vars(read),
            "files": {file.name: file_hash(file) for file in sorted(partial.iterdir())},
        }
        write_json(partial / EXPORT, content)
    return f"written: {out}, {_FORMS[form]} in {name}, of {place}; {_near(read, name)}"


_FORMS: dict[Form, str] = {"adapter": "an adapter for peft", "model": "a whole model"}


def _dtype(settings: ExportCommand, form: Form, policy: Policy) -> torch.dtype:
    if settings.dtype != "auto":
        return DTYPES[settings.dtype]
    assert policy.sft is not None
    return torch.float32 if form == "adapter" else stored_dtype(policy.sft.path)


def _near(read: Readback, dtype: str) -> str:
    """How near it is to the policy, and what to do where it is not near enough."""
    said = f"read back, it is {read.rounding:.1e} nats per token from the policy"
    if read.training and read.rounding > read.training / 4:
        said += (
            f", and training had moved that by {read.training:.1e}: much of it is lost in rounding to "
            f"{dtype}; keep it with --dtype float32"
        )
    return said


def _files(out: Path) -> set[str]:
    """Names in a folder that an export wrote there; nothing where there is none."""
    try:
        return {EXPORT, *json.loads((out / EXPORT).read_text(encoding="utf-8"))["files"]}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{out / EXPORT}: damaged; remove the folder, or give another --out") from error
