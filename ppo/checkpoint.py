"""Checkpoints: everything needed to go on, in safetensors and JSON, written all or not at all.

checkpoints/iteration-000100/
    adapter_model.safetensors, adapter_config.json     loads with peft on the SFT model
    model.safetensors, config.json, …                  instead, with full tuning
    value_head.safetensors    state.safetensors (optimizer)    tokenizer files
    state.json                counters, and the sha256 of every other file
checkpoints/best -> iteration-000080
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import set_peft_model_state_dict
from torch import Tensor

from models.adapter import TuneConfig
from models.errors import ModelError
from models.policy import Policy, build_policy, frozen_policy
from models.precision import Precision
from models.storage import atomic_folder, disk_errors, file_hash, load_tensors, save_tensors, weight_hash
from ppo.state import TrainState

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose files were verified."""

    path: Path
    state: dict[str, Any]

    @property
    def sft_path(self) -> Path:
        """The model folder it stands on."""
        return (self.path / self.state["sft"]["path"]).resolve()


def save_checkpoint(
    folder: Path, policy: Policy, state: TrainState, *, logs: Mapping[str, int], keep: int
) -> Path:
    """Write checkpoint `iteration-N` into `folder`, renew `best`, and remove the oldest beyond `keep`.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints stay as they are.
    """
    target = folder / f"iteration-{state.iteration:06d}"
    with atomic_folder(target) as partial:
        _save_weights(partial, policy)
        save_tensors(partial / "state.safetensors", _optimizer_tensors(policy, state.optimizer))
        files = {file.name: file_hash(file) for file in sorted(partial.iterdir())}
        content = {
            "format": FORMAT,
            **state.to_json(),
            "logs": dict(logs),
            "sft": _sft_entry(policy, target),
            "tune": asdict(policy.tune),
            "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
            "files": files,
        }
        (partial / "state.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    best = folder / f"iteration-{int(state.best.get('iteration', -1)):06d}"
    if best.is_dir():
        _point_best(folder, best.name)
    _prune(folder, keep, best)
    return target


def open_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint folder, or the best or else newest one of a run folder.

    Raises:
        ModelError: nothing there, a damaged or missing file, or its SFT model is missing or has changed.
    """
    folder = resolve_checkpoint(path)
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        checkpoint, sha256 = Checkpoint(folder, state), state["sft"]["sha256"]
        files, written_in = dict(state["files"]), state["format"]
        sft = checkpoint.sft_path
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: damaged checkpoint (state.json); remove that folder, or use an earlier one"
        ) from error
    if written_in != FORMAT:
        raise ModelError(f"{folder}: written in format {written_in}, this version reads {FORMAT}")
    for name, digest in files.items():
        if not (folder / name).is_file() or file_hash(folder / name) != digest:
            raise ModelError(
                f"{folder}: damaged checkpoint ({name}); remove that folder, or use an earlier one"
            )
    if not sft.is_dir():
        raise ModelError(f"{folder}: its SFT model is missing: {sft}; put it back or train again")
    if weight_hash(sft) != sha256:
        raise ModelError(f"{folder}: trained on another SFT model than the one now in {sft} (hash differs)")
    return checkpoint


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint folder itself, or that of a run: `best` where there is one, else the newest."""
    if (path / "state.json").is_file():
        return path.resolve()
    best = path / "checkpoints" / "best"
    if best.is_dir():
        return best.resolve()
    if found := numbered(path / "checkpoints"):
        return found[-1].resolve()
    raise ModelError(f"{path}: no checkpoint there")


def newest_checkpoint(run: Path) -> Path:
    """The newest checkpoint of a run folder, for going on. Raises ModelError where there is none."""
    if found := numbered(run / "checkpoints"):
        return found[-1]
    raise ModelError(f"{run}: no checkpoint to resume from; start it again with --overwrite")


def numbered(folder: Path) -> list[Path]:
    """Complete checkpoints of a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if re.fullmatch(r"iteration-\d{6,}", p.name))
    return sorted(found, key=lambda p: int(p.name.removeprefix("iteration-")))


def locate(path: Path) -> Checkpoint | Path:
    """What a path stands for: a verified checkpoint (of a run: its best), or an SFT run or model folder.

    Raises:
        ModelError: neither is there, or it is damaged; see `open_checkpoint`.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such checkpoint")
    untouched = any((folder / "config.json").is_file() for folder in (path / "model", path))
    return path if untouched and not (path / "state.json").is_file() else open_checkpoint(path)


def load_policy(path: Path | Checkpoint, precision: Precision) -> Policy:
    """The policy that a path stands for, or that of a checkpoint verified before. Errors as in `locate`."""
    found = path if isinstance(path, Checkpoint) else locate(path)
    if isinstance(found, Path):
        return frozen_policy(found, precision)
    tune = found.state["tune"]
    tune["lora_targets"] = tuple(tune["lora_targets"])
    policy = build_policy(found.sft_path, TuneConfig(**tune), precision, seed=0)
    load_weights(found, policy)
    return policy


def load_weights(checkpoint: Checkpoint, policy: Policy) -> None:
    """Put the trained weights and the value head into a policy built on the same SFT model.

    Raises:
        ModelError: the checkpoint was tuned another way (LoRA or full, rank, alpha, layers) or on another
            SFT model.
    """
    if policy.sft is None or policy.sft.sha256 != checkpoint.state["sft"]["sha256"]:
        raise ModelError(
            f"{checkpoint.path}: stands on another SFT model than this policy; pass its own to --sft"
        )
    ours, theirs = _tuning(asdict(policy.tune)), _tuning(checkpoint.state["tune"])
    if ours != theirs:
        # Names and shapes alone would not tell: another lora_alpha fits, and means another policy.
        raise ModelError(
            f"{checkpoint.path}: was trained with {theirs}, this policy has {ours}; "
            "use the --tune and --lora flags it was trained with"
        )
    name = "adapter_model.safetensors" if policy.uses_lora else "model.safetensors"
    tensors = load_tensors(checkpoint.path / name)
    if policy.uses_lora:
        set_peft_model_state_dict(policy.model, tensors)
    else:
        _load_full(policy, tensors)
    policy.value_head.linear.load_state_dict(load_tensors(checkpoint.path / "value_head.safetensors"))


def restore(checkpoint: Checkpoint, policy: Policy, state: TrainState) -> None:
    """Weights, optimizer and counters: the run goes on as if it had not stopped."""
    load_weights(checkpoint, policy)
    tensors = load_tensors(checkpoint.path / "state.safetensors")
    slots: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, slot = key.rsplit("/", 1)
        slots.setdefault(name, {})[slot] = tensor
    parameters = _named_parameters(policy)
    for name, values in slots.items():
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU, its moments beside the parameter.
        state.optimizer.state[parameter] = {
            slot: value if slot == "step" else value.to(parameter.device) for slot, value in values.items()
        }
    state.load_json(checkpoint.state)


def _save_weights(folder: Path, policy: Policy) -> None:
    with disk_errors(folder):
        if policy.uses_lora:
            # No embeddings are trained; asking peft to find out would look the base model up.
            policy.model.save_pretrained(folder, save_embedding_layers=False)
            _name_base(folder / "adapter_config.json", policy)
        else:
            policy.network.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
    save_tensors(folder / "value_head.safetensors", policy.value_head.linear.state_dict())


def _name_base(config_file: Path, policy: Policy) -> None:
    """Name the SFT model as the adapter's base: peft alone would write whatever the SFT model came from."""
    if policy.sft is not None:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = str(policy.sft.path)
        config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _sft_entry(policy: Policy, target: Path) -> dict[str, str] | None:
    if policy.sft is None:
        return None
    # Relative, so that the runs folder can be moved as a whole.
    return {"path": os.path.relpath(policy.sft.path, target.resolve()), "sha256": policy.sft.sha256}


def _tuning(tune: Mapping[str, Any]) -> dict[str, Any]:
    """What has to agree, in the form that JSON gives back; LoRA's settings say nothing of full tuning."""
    return (
        {"tune": "full"} if tune["tune"] == "full" else {**tune, "lora_targets": list(tune["lora_targets"])}
    )


def _load_full(policy: Policy, tensors: dict[str, Tensor]) -> None:
    network: Any = policy.network
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    tied = set(getattr(network, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        raise RuntimeError(f"unexpected {unexpected[:1]}, missing {missing[:1]}")


def _named_parameters(policy: Policy) -> dict[str, torch.nn.Parameter]:
    head = {f"value_head.{name}": p for name, p in policy.value_head.named_parameters()}
    return {**policy.trainable(), **head}


def _optimizer_tensors(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state by the parameter's name, not by its number in the optimizer."""
    return {
        f"{name}/{slot}": value
        for name, parameter in _named_parameters(policy).items()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def _point_best(folder: Path, name: str) -> None:
    link = folder / "best.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(folder / "best")


def _prune(folder: Path, keep: int, best: Path) -> None:
    for old in numbered(folder)[:-keep]:
        if old != best:
            shutil.rmtree(old)
