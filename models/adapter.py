"""LoRA through peft: put on, folded in for rollouts, taken off for the reference. Dropout off, activations
recomputed."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.errors import ModelError
from models.low_rank import LowRankLinear
from models.ranges import Count, check_ranges

# What peft says where not one of the target names is a layer.
_NOTHING_FOUND = "not found in the base model"
# The attribute of a model under which its configuration's dropout is kept while it is off.
_HAD = "_dropout_it_came_with"


@dataclass(frozen=True)
class TuneConfig:
    """Which weights of the network are trained."""

    tune: Literal["lora", "full"] = "lora"
    """lora: low-rank adapters on a frozen base, which serves as the reference too. full: every weight, with
    a frozen copy as reference; for small models."""
    lora_rank: Count = 16
    """Rank r of the adapters."""
    lora_alpha: Count = 32
    """Adapters are scaled by lora_alpha / lora_rank."""
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear layers that get an adapter; the paper's four by default."""

    def __post_init__(self) -> None:
        check_ranges(self)


def add_lora(model: nn.Module, config: TuneConfig, seed: int) -> PeftModel:
    """The model with fresh adapters: B = 0, so it starts as the model itself. Only adapters are trainable.

    Raises:
        ModelError: a target name adapts nothing of the model, names what cannot have an adapter, or a layer
            whose weight is also another's.
    """
    linear = {
        name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)
    }

    def unnamed(targets: Sequence[str]) -> ModelError:
        return ModelError(
            f"--lora-targets: the model has no layer named {', '.join(targets)}; its linear layers are "
            f"{', '.join(sorted(linear))}"
        )

    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,  # dropout would make the policy that is updated another one than sampled
        target_modules=list(config.lora_targets),
        task_type="CAUSAL_LM",
    )
    lora._register_custom_module({nn.Linear: LowRankLinear})  # for this run: it is in no file
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Of what it does about tied, transposed and fused weights; whether it does it right, is checked.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, lora)
        except ValueError as error:
            if _NOTHING_FOUND in str(error):
                raise unnamed(config.lora_targets) from error
            # Neither a linear layer nor an embedding; or one part of what a model holds in one tensor.
            raise ModelError(f"--lora-targets: {' '.join(str(error).split())}") from error
    if idle := _idle_targets(adapted):
        raise unnamed(idle)
    _check_apart(adapted)
    return adapted


def _idle_targets(model: PeftModel) -> list[str]:
    """Target names that no adapter goes by.

    Asked of what peft did: by the names of a checkpoint (`gate_proj` of an expert, Mixtral's `w1`) it finds
    experts that the network holds in one tensor, where no layer has such a name.
    """
    config = model.peft_config["default"]
    used = []
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            # Adapters of two tensors of one module stand around each other.
            name = name.replace(".base_layer", "")
            used.append(f"{name}.{layer.parameter_name}" if isinstance(layer, ParamWrapper) else name)
    wanted = {*config.target_modules, *(config.target_parameters or ())}
    return sorted(target for target in wanted if not any(f".{name}".endswith(f".{target}") for name in used))


def _check_apart(model: nn.Module) -> None:
    """Raise ModelError where an adapter is on a weight whose memory is another weight's too.

    Folded in, an adapter of lm_head would move the embeddings as well where the two are one, and the model
    that samples would not be the one that is trained.
    """
    weights = [(name, *_extent(p)) for name, p in model.named_parameters(remove_duplicate=False)]
    for layer in _adapted(model):
        start, end = _extent(_weight(layer))
        sharing = [name for name, first, last in weights if first < end and start < last]
        if len(sharing) > 1:
            sharing.sort(key=lambda name: ".base_layer" not in name)  # the adapter's own first
            ours, other = (
                name.removeprefix("base_model.model.").replace(".base_layer", "").removesuffix(".weight")
                for name in sharing[:2]
            )
            raise ModelError(
                f"--lora-targets: the weight of {ours} is that of {other} too, and an adapter may not move "
                f"both; leave {ours.rpartition('.')[2]} out"
            )


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Addresses between which a tensor's numbers lie."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    # On the meta device there are no addresses; there the storage stands for its place.
    start = tensor.untyped_storage()._cdata << 64 if tensor.is_meta else tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Fold the adapters into the base weights for the time of a block: decoding runs at the base's speed.

    The base is restored from copies, bit for bit. Adding and subtracting the same update would drift, in
    float16 by a third of the weights within a thousand rollouts. A model without adapters stays as it is.
    """
    layers = _adapted(model)
    if not layers:
        yield
        return
    pristine = [weight.detach().clone() for weight in adapted_weights(model)]
    try:
        _fold(layers)
        # The adapters are in the weights now; left on, they would be applied a second time.
        with disabled(model):
            yield
    finally:
        with torch.no_grad():
            for layer, original in zip(layers, pristine, strict=True):
                _weight(layer).copy_(original)


def fold_in(model: PeftModel) -> PreTrainedModel:
    """The base model with its adapters in the weights for good: what `merged` samples from, to the bit."""
    _fold(_adapted(model))
    return model.unload()


def adapted_weights(model: nn.Module) -> list[Tensor]:
    """The base weights that adapters stand beside; `merged` keeps a copy of each."""
    return [_weight(layer) for layer in _adapted(model)]


def _adapted(model: nn.Module) -> list[LoraLayer]:
    return [m for m in model.modules() if isinstance(m, LoraLayer)]


def _weight(layer: LoraLayer) -> Tensor:
    """What an adapter stands beside: a layer's weight, or all experts' weights in one parameter."""
    return layer.get_param() if isinstance(layer, ParamWrapper) else layer.get_base_layer().weight


@torch.no_grad()
def _fold(layers: Sequence[LoraLayer]) -> None:
    for layer in layers:
        # In float32, and rounded to the weight's format once.
        _weight(layer).add_(layer.get_delta_weight("default").float())


@contextmanager
def disabled(model: Any) -> Iterator[None]:
    """Run a block with the adapters off: the frozen base, which is the reference."""
    with model.disable_adapter():
        yield


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout to 0, and the noise of routers: the modules, and the numbers that layers and
    configuration hold.

    Layers copy those from the configuration when they are made, under names of their own: attention_dropout
    in Llama, residual_dropout in StarCoder2, attn_pdrop in GPT-2, dropout and layerdrop in OPT;
    router_jitter_noise and input_jitter_noise in PhiMoE. What the configuration had is kept for
    `with_its_dropout`.
    """
    config = getattr(model, "config", None)
    had = {name: value for name, value in getattr(config, "__dict__", {}).items() if _is_dropout(name, value)}
    if not hasattr(model, _HAD):  # the second time there is none left
        setattr(model, _HAD, had)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for holder in (*model.modules(), config):
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if _is_dropout(name, value):
                setattr(holder, name, 0.0)


@contextmanager
def with_its_dropout(model: Any) -> Iterator[None]:
    """Write a model within: its configuration has the dropout that it came with.

    It is off in training here, which is no property of the model.
    """
    had = getattr(model, _HAD, {})
    off = {name: getattr(model.config, name) for name in had}
    try:
        for name, value in had.items():
            setattr(model.config, name, value)
        yield
    finally:
        for name, value in off.items():
            setattr(model.config, name, value)


def _is_dropout(name: str, value: object) -> bool:
    """Whether a setting of a configuration, or of a layer, is a share of dropout or the noise of a router."""
    return isinstance(value, float) and ("drop" in name or "jitter" in name)


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
