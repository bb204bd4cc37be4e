"""Checkpoints: everything needed to go on, in safetensors and JSON, written all or not at all.

checkpoints/iteration-000100/
    adapter_model.safetensors, adapter_config.json     loads with peft on the SFT model
    model.safetensors, config.json, …                  instead, with full tuning
    value_head.safetensors    state.safetensors (optimizer)    tokenizer files
    state.json                counters, controllers, settings, log lengths, versions
    README.md                 what it is, what it stands on, how to load it
    checksums.json            the sha256 of every other file
checkpoints/best -> iteration-000080
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import set_peft_model_state_dict

from models.adapter import TuneConfig, with_its_dropout
from models.checkpoints import library_versions, load_optimizer, optimizer_tensors, seal
from models.critic import CriticConfig
from models.errors import ModelError
from models.export import base_of, save_adapter
from models.policy import Policy, build_policy, frozen_policy
from models.precision import Precision
from models.storage import atomic_folder, disk_errors, load_model, load_tensors, save_tensors
from models.template import PromptForm, form_from
from ppo.run.card import card
from ppo.run.folder import FORMAT, Checkpoint, checkpoint_name, open_checkpoint, tidy
from ppo.run.state import TrainState


def save_checkpoint(
    folder: Path, policy: Policy, state: TrainState, *, logs: Mapping[str, int], keep: int
) -> Path:
    """Write checkpoint `iteration-N` into `folder`, renew `best`, and remove the oldest beyond `keep`.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints stay as they are.
    """
    target = folder / checkpoint_name(state.iteration)
    with atomic_folder(target) as partial:
        _save_weights(partial, policy)
        trained = _named_parameters(policy)
        save_tensors(partial / "state.safetensors", optimizer_tensors(trained, state.optimizer))
        content = {
            "format": FORMAT,
            **state.to_json(),
            "logs": dict(logs),
            "sft": _sft_entry(policy, target),
            "prompt": None if policy.prompt is None else asdict(policy.prompt),
            "tune": asdict(policy.tune),
            "critic": asdict(policy.critic),
            "versions": library_versions(),
        }
        (partial / "state.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(card(content), encoding="utf-8")
        seal(partial)
    tidy(folder, state.best.get("iteration"), keep)
    return target


def locate(path: Path, sft: Sequence[Path] = ()) -> Checkpoint | Path:
    """What a path stands for: a verified checkpoint (of a run: its best), or an SFT run or model folder.

    `sft`: as for `open_checkpoint`.

    Raises:
        ModelError: neither is there, or it is damaged; see `open_checkpoint`.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such checkpoint")
    untouched = any((folder / "config.json").is_file() for folder in (path / "model", path))
    return path if untouched and not (path / "state.json").is_file() else open_checkpoint(path, sft)


def load_policy(path: Path | Checkpoint, precision: Precision) -> Policy:
    """The policy that a path stands for, or that of a checkpoint verified before. Errors as in `locate`."""
    found = path if isinstance(path, Checkpoint) else locate(path)
    if isinstance(found, Path):
        return frozen_policy(found, precision)
    base = found.base or found.with_base().base
    assert base is not None
    tune = found.state["tune"]
    tune["lora_targets"] = tuple(tune["lora_targets"])
    critic = CriticConfig(**found.state["critic"])
    policy = build_policy(base, TuneConfig(**tune), precision, seed=0, critic=critic)
    load_weights(found, policy)
    policy.ask_as(recorded_form(found))
    return policy


def recorded_form(checkpoint: Checkpoint) -> PromptForm | None:
    """How problems were put to the policy of a checkpoint, where it says."""
    content = checkpoint.state.get("prompt")
    return None if content is None else form_from(content)


def load_weights(checkpoint: Checkpoint, policy: Policy, *, any_base: bool = False) -> None:
    """Put the trained weights and the value head into a policy built on the same SFT model.

    `any_base`: let it stand on another one, where adapters mean something else.

    Raises:
        ModelError: the checkpoint was tuned another way (LoRA or full, rank, alpha, layers), with another
            critic, or on another SFT model.
    """
    sha256 = None if policy.sft is None else policy.sft.sha256
    if not any_base and sha256 != checkpoint.state["sft"]["sha256"]:
        raise ModelError(
            f"{checkpoint.path}: stands on another SFT model than this policy; pass its own to --sft"
        )
    ours = _build(asdict(policy.tune), asdict(policy.critic))
    theirs = _build(checkpoint.state["tune"], checkpoint.state["critic"])
    if ours != theirs:
        # Names and shapes alone would not tell: another lora_alpha fits, and means another policy.
        raise ModelError(
            f"{checkpoint.path}: was trained with {theirs}, this policy has {ours}; "
            "use the --tune, --lora and --critic flags it was trained with"
        )
    if policy.uses_lora:
        set_peft_model_state_dict(policy.adapted, load_tensors(checkpoint.path / "adapter_model.safetensors"))
    else:
        # By the way it was written: save_pretrained gives weights other names and shapes than they have in
        # the network (experts apart, heads in another order), and from_pretrained takes that back.
        written = load_model(checkpoint.path, torch.float32)
        policy.network.load_state_dict(written.state_dict())
    policy.value_head.load_state_dict(load_tensors(checkpoint.path / "value_head.safetensors"))


def restore(checkpoint: Checkpoint, policy: Policy, state: TrainState, *, any_base: bool = False) -> None:
    """Weights, optimizer and counters: the run goes on as if it had not stopped. As `load_weights`."""
    load_weights(checkpoint, policy, any_base=any_base)
    tensors = load_tensors(checkpoint.path / "state.safetensors")
    load_optimizer(_named_parameters(policy), state.optimizer, tensors)
    state.load_json(checkpoint.state)


def _save_weights(folder: Path, policy: Policy) -> None:
    with disk_errors(folder):
        if policy.uses_lora:
            save_adapter(folder, policy, None if policy.sft is None else base_of(policy.sft.path))
        else:
            with with_its_dropout(policy.network):
                policy.network.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
    save_tensors(folder / "value_head.safetensors", policy.value_head.state_dict())


def _sft_entry(policy: Policy, target: Path) -> dict[str, Any] | None:
    if policy.sft is None:
        return None
    base = base_of(policy.sft.path)
    return {
        # Relative, so that the runs folder can be moved as a whole.
        "path": os.path.relpath(policy.sft.path, target.resolve()),
        "hub": base.name if base.revision else None,
        "sha256": policy.sft.sha256,
    }


def _build(tune: Mapping[str, Any], critic: Mapping[str, Any]) -> dict[str, Any]:
    """What has to agree, as JSON gives it back, without what says nothing: LoRA's settings of full tuning."""
    tuning = (
        {"tune": "full"} if tune["tune"] == "full" else {**tune, "lora_targets": list(tune["lora_targets"])}
    )
    return tuning | ({"critic": "head"} if critic["critic"] == "head" else dict(critic))


def _named_parameters(policy: Policy) -> dict[str, torch.nn.Parameter]:
    head = {f"value_head.{name}": p for name, p in policy.value_head.named_parameters()}
    return {**policy.trainable(), **head}
