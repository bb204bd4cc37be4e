"""Supervised fine-tuning: cross-entropy on demonstrations, prompt and padding masked, EOS supervised.

for each step:
    a batch of demonstrations of about equal length             # 1
    the gradient of the mean loss per completion token          # 2
    one step of AdamW                                           # 3
    validate, log, save                                         # 4
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.adapter import TuneConfig, add_lora, checkpoint_layers, disable_dropout, fold_in
from models.errors import ModelError
from models.head import Head, find_head
from models.logprobs import final_states, token_logprobs
from models.precision import Precision, too_many_skipped
from models.ranges import Count, NotNegative, NotNegativeInt, Positive, Share, check_ranges
from models.sft_data import Batches, Demonstration, by_length, chunks, collate, supervised_tokens
from models.sft_run import SERIES, SFTLog, SFTState, load_weights, save_checkpoint, trainable
from models.storage import atomic_folder, disk_errors
from models.template import PromptForm, write_form
from models.verify import own_logprobs, verify, verify_adapters


@dataclass(frozen=True)
class SFTConfig:
    """Settings of the supervised warm start."""

    epochs: Positive = 3.0
    """Passes over the demonstrations; fractions are allowed."""
    learning_rate: NotNegative = 2e-5
    """Peak learning rate of AdamW."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate falls after warm-up: not at all, or to 0 along a cosine."""
    batch_size: Count = 16
    """Demonstrations per optimizer step."""
    micro_batch_size: Count = 16
    """Demonstrations per backward pass; lower it when memory runs out. Gradients do not change."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: much less memory, about a quarter more time."""
    max_tokens: Count = 2048
    """Demonstrations that are longer, prompt included, are left out and counted."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay of AdamW."""
    validate_every: Count = 100
    """Optimizer steps between validation losses; the last step always has one."""
    keep: Literal["best", "last"] = "best"
    """Which weights the model is written from: those with the lowest validation loss, or the last. Without
    validation: the last."""
    patience: NotNegativeInt = 0
    """Stop after so many validations in a row without a lower loss; 0: never."""
    save_every: Count = 200
    """Optimizer steps between checkpoints; an interrupted run goes on from the newest."""
    keep_checkpoints: Count = 2
    """Newest checkpoints to keep, each with weights and optimizer in float32; the best is kept besides."""
    seed: NotNegativeInt = 1
    """Of the order of the demonstrations, and of fresh weights."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.warmup == 1:
            raise ValueError("warmup must be below 1: the learning rate has to arrive before the end")


def prepare_sft(
    model: PreTrainedModel, config: SFTConfig, tune: TuneConfig, precision: Precision
) -> torch.nn.Module:
    """The network that `train_sft` takes: dropout off, on its device, adapters on, and found to compute what
    the model computes.

    Raises:
        ModelError: the model cannot be trained this way; see models/verify.py, and `add_lora`.
    """
    disable_dropout(model)
    if config.gradient_checkpointing:
        checkpoint_layers(model)
    model.to(precision.device)
    verify(model, find_head(model), precision)
    if tune.tune == "full":
        return _cast(model, torch.float32)  # in half precision most of a small step would be lost
    network = add_lora(model, tune, config.seed).to(precision.device)
    verify_adapters(network, find_head(model), precision)
    return network


def fresh_state(
    network: torch.nn.Module, config: SFTConfig, precision: Precision, setup: dict[str, Any] | None = None
) -> SFTState:
    """The state before the first step of a network of `prepare_sft`. `setup`: what a resume compares with."""
    optimizer = torch.optim.AdamW(
        trainable(network).values(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return SFTState(optimizer, precision.grad_scaler(), setup=setup or {})


def train_sft(
    config: SFTConfig,
    network: torch.nn.Module,
    state: SFTState,
    *,
    train: Sequence[Demonstration],
    validation: Sequence[Demonstration],
    eos_id: int,
    precision: Precision,
    log: SFTLog,
    checkpoints: Path,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Take steps from `state.step` on, and say whether the training is over: False where `stop` ended it.

    Demonstrations are taken as they come; see `short_enough`. `network`: of `prepare_sft`; `finished` makes
    a model of it. `stop` is asked after every step: True saves and returns early.

    Raises:
        ModelError: the loss or a gradient is not finite, or too many steps in a row overflow.
        KeyboardInterrupt: at any time; the newest checkpoint stands.
    """
    # A pass whose last batch is small has that step too, or the last pass would leave demonstrations out.
    steps = optimizer_steps(config, len(train))
    batches = Batches(train, config.batch_size, config.seed)
    head = find_head(_base(network))
    network.train()

    over, stopping = state.over(steps, config.patience), stop()
    while not (over or stopping):
        with log.phase("train"):
            # 1. Demonstrations; which ones, the number of the step says.
            batch = batches.at(state.step)

            # 2. Gradients of the loss: a sum over the completion tokens of the batch, divided by their
            # number, so that neither padding nor the cut into micro-batches changes it.
            loss = accumulate_gradient(network, head, state.scaler, batch, eos_id, config, precision)
            _check_finite("loss", loss, state.step + 1)

            # 3. AdamW. An overflow of float16 skips the step, and is counted.
            learning_rate = config.learning_rate * learning_rate_factor(config, state.step, steps)
            norm, skipped = optimizer_step(state, config, learning_rate)
            state.stepped(skipped=skipped)

        # 4. Validate, log, save.
        metrics = {"loss": loss, "grad_norm": norm, "learning_rate": learning_rate}
        if skipped:
            del metrics["grad_norm"]  # infinite, which JSON has no number for
        if state.scaler.is_enabled():
            metrics |= {"loss_scale": state.scaler.get_scale(), "skipped_steps": state.skipped_steps}
        if validation and (state.step % config.validate_every == 0 or state.step == steps):
            with log.phase("validate"):
                metrics["validation_loss"] = mean_loss(network, validation, eos_id, config, precision)
            _check_finite("validation loss", metrics["validation_loss"], state.step)
            state.validated(metrics["validation_loss"])
        log.write(state.step, metrics, tokens=sum(d.tokens for d in batch))
        if message := too_many_skipped(state.skipped_in_a_row):
            raise ModelError(message)
        over, stopping = state.over(steps, config.patience), stop()
        best = state.best_step if config.keep == "best" else None
        if over or stopping or best == state.step or state.step % config.save_every == 0:
            keep = config.keep_checkpoints
            save_checkpoint(checkpoints, network, state, logs=log.offsets(), best=best, keep=keep)
    return over


def accumulate_gradient(
    network: torch.nn.Module,
    head: Head,
    scaler: torch.amp.GradScaler,
    batch: Sequence[Demonstration],
    eos_id: int,
    config: SFTConfig,
    precision: Precision,
) -> float:
    """Add the (scaled) gradient of the batch's mean loss to the parameters; that loss, nats per token.

    A loss that is not finite is returned at once, without a gradient.
    """
    tokens, loss = supervised_tokens(batch), 0.0
    for micro in chunks(batch, config.micro_batch_size):
        with precision.autocast():
            part = completion_loss(network, head, micro, eos_id, precision.device) / tokens
        loss += part.item()
        if not math.isfinite(loss):
            return loss
        scaler.scale(part).backward()
    return loss


def optimizer_step(state: SFTState, config: SFTConfig, learning_rate: float) -> tuple[float, bool]:
    """Unscale, clip, step. The gradient's norm before clipping, and whether an overflow skipped the step.

    Raises:
        ModelError: a gradient is not finite, and there is no loss scale to blame.
    """
    optimizer, scaler = state.optimizer, state.scaler
    [group] = optimizer.param_groups
    group["lr"] = learning_rate
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(group["params"], config.max_grad_norm).item()
    if not scaler.is_enabled():
        _check_finite("gradient's norm", norm, state.step + 1)
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return norm, scaler.get_scale() < scale


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise ModelError(f"the {name} is {value} at step {step}: lower --learning-rate")


def completion_loss(
    network: torch.nn.Module,
    head: Head,
    batch: Sequence[Demonstration],
    eos_id: int,
    device: torch.device,
) -> Tensor:
    """Cross-entropy summed over the completion tokens and the EOS of each demonstration: a scalar."""
    ids, mask, supervised = (x.to(device) for x in collate(batch, eos_id))
    predicts = supervised[:, 1:]  # (B, L-1): the state at i predicts token i+1
    hidden = final_states(_base(network), ids, mask, predicts)  # (N, H)
    logprobs, _ = token_logprobs(hidden, head, ids[:, 1:][predicts], temperature=1.0)
    return -logprobs.sum()


def _cast(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Parameters alone. Buffers such as the frequencies of rotary positions are float32 in a loaded model
    too, whatever its dtype; rounded, they would make another model of it."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return network


@torch.no_grad()
def mean_loss(
    network: torch.nn.Module,
    demonstrations: Sequence[Demonstration],
    eos_id: int,
    config: SFTConfig,
    precision: Precision,
) -> float:
    """Mean cross-entropy per completion token, in nats."""
    was_training, head = network.training, find_head(_base(network))
    network.eval()
    total = 0.0
    for batch in chunks(by_length(demonstrations), config.micro_batch_size):
        with precision.autocast():
            total += completion_loss(network, head, batch, eos_id, precision.device).item()
    network.train(was_training)
    return total / supervised_tokens(demonstrations)


def finished(
    config: SFTConfig, network: Any, state: SFTState, checkpoints: Path, dtype: torch.dtype
) -> tuple[PreTrainedModel, int]:
    """The model as it is to be written, in the format it came in, adapters merged; and the step it is of.

    `dtype`: the model's, before it was trained.

    Raises:
        ModelError: the best checkpoint is damaged.
    """
    step = state.step
    if config.keep == "best" and state.best_step not in (None, step):
        step = state.best_step
        load_weights(SERIES.read(checkpoints / SERIES.name(step)), network)
    return (fold_in(network) if isinstance(network, PeftModel) else _cast(network, dtype)), step


def _base(network: Any) -> Any:
    """The model under the adapters, or the network itself where there are none."""
    return network.get_base_model() if isinstance(network, PeftModel) else network


@torch.no_grad()
def written_loss(
    network: PreTrainedModel,
    demonstrations: Sequence[Demonstration],
    eos_id: int,
    config: SFTConfig,
    precision: Precision,
) -> float:
    """The same of a model as it is to be written, as transformers computes it: text by text, by its logits.

    In float32 that is `mean_loss` (within 1e-6), which is faster. In 16 bits the kernels of a padded batch,
    autocast and logits in float32 round otherwise, which moves the mean by 1e-3.
    """
    if network.dtype == torch.float32:
        return mean_loss(network, demonstrations, eos_id, config, precision)
    network.eval()
    total = 0.0
    for d in demonstrations:
        ids = torch.tensor((*d.prompt_ids, *d.completion_ids, eos_id), device=precision.device)
        total -= own_logprobs(network, ids, d.supervised).sum().item()
    return total / supervised_tokens(demonstrations)


def optimizer_steps(config: SFTConfig, demonstrations: int) -> int:
    """Steps of a whole training: every pass ends with a smaller batch if it must."""
    return math.ceil(config.epochs * math.ceil(demonstrations / config.batch_size))


def learning_rate_factor(config: SFTConfig, step: int, steps: int) -> float:
    """What the learning rate is multiplied with at a step (counted from 0)."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: PromptForm | None = None,
) -> None:
    """Write full weights, tokenizer and how problems were put to it, all or not at all.

    Raises OSError where the disk refuses.
    """
    with atomic_folder(folder) as partial, disk_errors(folder):
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if prompt is not None:
            write_form(partial, prompt)
