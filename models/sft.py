"""Supervised fine-tuning: cross-entropy on demonstrations, prompt and padding masked, EOS supervised.

for each step:
    a batch of demonstrations of about equal length             # 1
    the gradient of the mean loss per completion token          # 2
    one step of AdamW                                           # 3
    validate, log, save                                         # 4
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.adapter import (
    TuneConfig,
    add_lora,
    checkpoint_layers,
    disable_dropout,
    fold_in,
    with_its_dropout,
)
from models.errors import ModelError
from models.head import find_head
from models.precision import Precision, too_many_skipped
from models.quicken import quicken
from models.sft_config import SFTConfig, learning_rate_factor, optimizer_steps
from models.sft_data import Batches, Demonstration
from models.sft_loss import accumulate_gradient, base_model, mean_loss
from models.sft_run import SERIES, SFTLog, SFTState, load_weights, save_checkpoint, trainable
from models.storage import atomic_folder, disk_errors
from models.template import PromptForm, write_form
from models.together import Processes, check_same_weights
from models.verify import verify, verify_adapters


def prepare_sft(
    model: PreTrainedModel, config: SFTConfig, tune: TuneConfig, precision: Precision
) -> torch.nn.Module:
    """The network that `train_sft` takes: dropout off, on its device, adapters on, and found to compute what
    the model computes.

    Raises:
        ModelError: the model cannot be trained this way; see models/verify.py, and `add_lora`.
    """
    disable_dropout(model)
    quicken(model)
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
    world: Processes,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Take steps from `state.step` on, and say whether the training is over: False where `stop` ended it.

    Demonstrations are taken as they come; see `short_enough`. `network`: of `prepare_sft`; `finished` makes
    a model of it. `stop` is asked after every step: True saves and returns early. `world`: the processes that
    train together; demonstrations and stop are the same on all of them.

    Raises:
        ModelError: the loss or a gradient is not finite, too many steps in a row overflow, or processes that
            train together have other weights.
        KeyboardInterrupt: at any time; the newest checkpoint stands.
    """
    # A pass whose last batch is small has that step too, or the last pass would leave demonstrations out.
    steps = optimizer_steps(config, len(train))
    batches = Batches(train, config.batch_size, config.seed)
    head, trained = find_head(base_model(network)), list(trainable(network).values())
    network.train()

    def save(best: int | None) -> None:
        check_same_weights(world.each(lambda: _norm(trained)))
        keep = config.keep_checkpoints
        world.lead(
            lambda: save_checkpoint(checkpoints, network, state, logs=log.offsets(), best=best, keep=keep)
        )

    over, stopping = state.over(steps, config.patience), stop()
    while not (over or stopping):
        with log.phase("train"):
            # 1. Demonstrations; which ones, the number of the step says.
            batch = batches.at(state.step)

            # 2. Gradients of the loss: a sum over the completion tokens of the batch, divided by their
            # number, so that neither padding nor the cut into micro-batches and shares changes it.
            loss = accumulate_gradient(network, head, state.scaler, batch, eos_id, config, precision, world)
            _check_finite("loss", loss, state.step + 1)
            world.sum_gradients(trained)

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
                metrics["validation_loss"] = mean_loss(network, validation, eos_id, config, precision, world)
            _check_finite("validation loss", metrics["validation_loss"], state.step)
            state.validated(metrics["validation_loss"])
        log.write(state.step, metrics, tokens=sum(d.tokens for d in batch))
        if message := too_many_skipped(state.skipped_in_a_row):
            raise ModelError(message)
        over, stopping = state.over(steps, config.patience), stop()
        best = state.best_step if config.keep == "best" else None
        if over or stopping or best == state.step or state.step % config.save_every == 0:
            save(best)
    return over


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


@torch.no_grad()
def _norm(weights: Sequence[torch.Tensor]) -> float:
    return torch.stack([weight.norm() for weight in weights]).norm().item()


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise ModelError(f"the {name} is {value} at step {step}: lower --learning-rate")


def _cast(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Parameters alone. Buffers such as the frequencies of rotary positions are float32 in a loaded model
    too, whatever its dtype; rounded, they would make another model of it."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return network


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
        with with_its_dropout(model):
            model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if prompt is not None:
            write_form(partial, prompt)
