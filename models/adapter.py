"""LoRA through peft: put on, folded in for rollouts, taken off for the reference. Dropout off, activations
recomputed."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

from models.errors import ModelError
from models.ranges import check_ranges


@dataclass(frozen=True)
class TuneConfig:
    """Which weights of the network are trained."""

    tune: Literal["lora", "full"] = "lora"
    """lora: low-rank adapters on a frozen base, which serves as the reference too. full: every weight, with
    a frozen copy as reference; for small models."""
    lora_rank: int = 16
    """Rank r of the adapters."""
    lora_alpha: int = 32
    """Adapters are scaled by lora_alpha / lora_rank."""
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear layers that get an adapter; the paper's four by default."""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one="lora_rank lora_alpha")


def add_lora(model: nn.Module, config: TuneConfig, seed: int) -> PeftModel:
    """The model with fresh adapters: B = 0, so it starts as the model itself. Only adapters are trainable.

    Raises:
        ModelError: none of the target names is a layer of the model.
    """
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    if missing := [target for target in config.lora_targets if target not in names]:
        raise ModelError(f"--lora-targets: the model has no layer named {', '.join(missing)}")
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,  # dropout would make the policy that is updated another one than sampled
        target_modules=list(config.lora_targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        torch.manual_seed(seed)
        return get_peft_model(model, lora)


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Fold the adapters into the base weights for the time of a block: decoding runs at the base's speed.

    The base is restored from copies, bit for bit. Adding and subtracting the same update would drift, in
    float16 by a third of the weights within a thousand rollouts. A model without adapters stays as it is.
    """
    layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
    if not layers:
        yield
        return
    pristine = [layer.get_base_layer().weight.detach().clone() for layer in layers]
    try:
        with torch.no_grad():
            for layer, original in zip(layers, pristine, strict=True):
                weight = layer.get_base_layer().weight
                delta = layer.get_delta_weight("default").float()
                weight.copy_((original.float() + delta).to(weight.dtype))
        # The adapters are in the weights now; left on, they would be applied a second time.
        with disabled(model):
            yield
    finally:
        with torch.no_grad():
            for layer, original in zip(layers, pristine, strict=True):
                layer.get_base_layer().weight.copy_(original)


@contextmanager
def disabled(model: Any) -> Iterator[None]:
    """Run a block with the adapters off: the frozen base, which is the reference."""
    with model.disable_adapter():
        yield


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout to 0: the modules, and the numbers that layers and configuration hold.

    Layers copy those from the configuration when they are made, under names of their own: attention_dropout
    in Llama, residual_dropout in StarCoder2, attn_pdrop in GPT-2, dropout and layerdrop in OPT.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for holder in (*model.modules(), getattr(model, "config", None)):
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if isinstance(value, float) and "drop" in name:
                setattr(holder, name, 0.0)


def checkpoint_layers(model: Any) -> None:
    """Recompute the activations of every block in the backward pass instead of keeping them.

    In training mode alone: a model in eval mode, as for decoding, keeps nothing anyway and has its KV cache.
    Non-reentrant, because the reentrant kind gives a frozen base under adapters no gradient at all.

    Raises:
        ModelError: this model cannot.
    """
    try:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise ModelError(
            f"{type(model).__name__} cannot recompute activations: leave --gradient-checkpointing out"
        ) from error
