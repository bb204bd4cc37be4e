"""Supervised warm start: cross-entropy on demonstrations, prompt and padding masked, EOS supervised."""

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
from models.precision import Precision
from models.ranges import Count, NotNegative, NotNegativeInt, Positive, Share, check_ranges
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
    seed: NotNegativeInt = 1
    """Of the order of the demonstrations, and of fresh weights."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.warmup == 1:
            raise ValueError("warmup must be below 1: the learning rate has to arrive before the end")


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the program to answer it with, as ids. The EOS token is not in `completion_ids` yet."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


Report = Callable[[int, int, dict[str, float]], None]
"""(step, steps, metrics) after every optimizer step; `validation_loss` where it was measured."""


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
        return model
    network = add_lora(model, tune, config.seed).to(precision.device)
    verify_adapters(network, find_head(model), precision)
    return network


def train_sft(
    network: Any,
    eos_id: int,
    train: Sequence[Demonstration],
    validation: Sequence[Demonstration],
    config: SFTConfig,
    precision: Precision,
    report: Report,
) -> PreTrainedModel:
    """Fit the demonstrations and return the model as it is to be written: adapters merged, in its own format.

    The loss of a step is the sum over its completion tokens (EOS included) divided by their number, so
    neither padding nor the cut into micro-batches changes it. The last validation loss is that of the model
    returned, whose merged and rounded weights are not quite those that were trained; see `written_loss`.

    Demonstrations are taken as they come; see `short_enough`. `network`: of `prepare_sft`.

    Raises:
        ModelError: the loss is not finite.
    """
    dtype = network.dtype
    if not isinstance(network, PeftModel):
        _cast(network, torch.float32)  # in half precision most of a small step would be lost
    network.train()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    scaler = precision.grad_scaler()
    head = find_head(_base(network))
    # A pass whose last batch is small has that step too, or the last pass would leave demonstrations out.
    steps = optimizer_steps(config, len(train))
    batches = _Batches(train, config.batch_size, config.seed)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(config, step - 1, steps)
        batch = batches.next()
        tokens = sum(len(d.completion_ids) + 1 for d in batch)
        loss = 0.0
        for micro in _chunks(batch, config.micro_batch_size):
            with precision.autocast():
                part = completion_loss(network, head, micro, eos_id, precision.device) / tokens
            if not torch.isfinite(part):
                raise ModelError(f"the loss is {part.item()} at step {step}: lower --learning-rate")
            scaler.scale(part).backward()
            loss += part.item()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        metrics = {"loss": loss, "grad_norm": norm.item(), "learning_rate": optimizer.param_groups[0]["lr"]}
        if step == steps:
            network = fold_in(network) if isinstance(network, PeftModel) else _cast(network, dtype)
        if validation and (step % config.validate_every == 0 or step == steps):
            metrics["validation_loss"] = (
                written_loss(network, validation, eos_id, precision.device)
                if step == steps and network.dtype != torch.float32
                else mean_loss(network, validation, eos_id, config, precision)
            )
        report(step, steps, metrics)
    return network


def completion_loss(
    network: torch.nn.Module,
    head: Head,
    batch: Sequence[Demonstration],
    eos_id: int,
    device: torch.device,
) -> Tensor:
    """Cross-entropy summed over the completion tokens and the EOS of each demonstration: a scalar."""
    ids, mask, supervised = (x.to(device) for x in collate(batch, eos_id))
    hidden = final_states(_base(network), ids, mask)  # (B, L, H)
    predicts = supervised[:, 1:]  # the state at i predicts token i+1
    logprobs, _ = token_logprobs(hidden[:, :-1][predicts], head, ids[:, 1:][predicts], temperature=1.0)
    return -logprobs.sum()


def _cast(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Parameters alone. Buffers such as the frequencies of rotary positions are float32 in a loaded model
    too, whatever its dtype; rounded, they would make another model of it."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return network


def _base(network: Any) -> Any:
    """The model under the adapters, or the network itself where there are none."""
    return network.get_base_model() if isinstance(network, PeftModel) else network


def collate(batch: Sequence[Demonstration], eos_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """ids (B, L), mask of real tokens (B, L), mask of supervised tokens (B, L); padded on the right."""
    length = max(len(d.prompt_ids) + len(d.completion_ids) + 1 for d in batch)
    ids = torch.full((len(batch), length), eos_id, dtype=torch.long)
    mask = torch.zeros((len(batch), length), dtype=torch.bool)
    supervised = torch.zeros_like(mask)
    for row, d in enumerate(batch):
        tokens = (*d.prompt_ids, *d.completion_ids, eos_id)
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = True
        supervised[row, len(d.prompt_ids) : len(tokens)] = True
    return ids, mask, supervised


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
    total, tokens = 0.0, 0
    for batch in _chunks(sorted(demonstrations, key=_length), config.micro_batch_size):
        with precision.autocast():
            total += completion_loss(network, head, batch, eos_id, precision.device).item()
        tokens += sum(len(d.completion_ids) + 1 for d in batch)
    network.train(was_training)
    return total / tokens


@torch.no_grad()
def written_loss(
    network: PreTrainedModel, demonstrations: Sequence[Demonstration], eos_id: int, device: torch.device
) -> float:
    """The same of a model as it is to be written, as transformers computes it: text by text, by its logits.

    In float32 that is `mean_loss` (within 1e-6), which is faster. In 16 bits the kernels of a padded batch,
    autocast and logits in float32 round otherwise, which moves the mean by 1e-3.
    """
    was_training = network.training
    network.eval()
    total, tokens = 0.0, 0
    for d in demonstrations:
        ids = torch.tensor((*d.prompt_ids, *d.completion_ids, eos_id), device=device)
        number = len(d.completion_ids) + 1
        total -= own_logprobs(network, ids, number).sum().item()
        tokens += number
    network.train(was_training)
    return total / tokens


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


class _Batches:
    """Endless batches of demonstrations of about equal length, in random order."""

    def __init__(self, demonstrations: Sequence[Demonstration], size: int, seed: int) -> None:
        self._demonstrations = demonstrations
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._queue: list[list[Demonstration]] = []

    def next(self) -> list[Demonstration]:
        """The next batch; a pass over all demonstrations ends with a smaller one if it must."""
        if not self._queue:
            self._queue = self._one_pass()
        return self._queue.pop()

    def _one_pass(self) -> list[list[Demonstration]]:
        order = torch.randperm(len(self._demonstrations), generator=self._generator).tolist()
        shuffled = [self._demonstrations[i] for i in order]
        # Sorted inside windows of 32 batches: little padding, and still other neighbours in every pass.
        window = 32 * self._size
        batches = [
            batch
            for start in range(0, len(shuffled), window)
            for batch in _chunks(sorted(shuffled[start : start + window], key=_length), self._size)
        ]
        return [batches[i] for i in torch.randperm(len(batches), generator=self._generator).tolist()]


def longest(demonstrations: Sequence[Demonstration]) -> int:
    """Tokens of the longest, its EOS included; 0 where there is none."""
    return max((_length(d) + 1 for d in demonstrations), default=0)


def short_enough(demonstrations: Sequence[Demonstration], limit: int) -> list[Demonstration]:
    """Those that fit into `limit` tokens with their EOS. Raises ModelError when none does."""
    short = [d for d in demonstrations if _length(d) + 1 <= limit]
    if not short:
        raise ModelError(f"none of the {len(demonstrations)} demonstrations fits into {limit} tokens")
    return short


def _length(demonstration: Demonstration) -> int:
    return len(demonstration.prompt_ids) + len(demonstration.completion_ids)


def _chunks(items: Sequence[Demonstration], size: int) -> list[Sequence[Demonstration]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
