"""The actor-critic: one network, the critic on it, and the frozen reference it is held to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models import frozen_head, low_rank
from models.adapter import TuneConfig, add_lora, checkpoint_layers, disable_dropout, disabled, merged
from models.batch import TokenBatch
from models.critic import CriticConfig, Reading, build_critic
from models.decoding import Decoding
from models.errors import ModelError
from models.generation import Generation, generate
from models.head import Head, find_head
from models.layer_form import unknown_layers
from models.logprobs import token_logprobs
from models.packing import pack_limit, packed_states, packing_saves
from models.precision import Precision
from models.quick_layers import quick_layers
from models.quicken import plain_ways, quicken
from models.rows import row_states
from models.stopping import StopStrings, stop_ids
from models.storage import check_vocabulary, load_model, load_tokenizer, weight_hash
from models.template import PromptForm, read_form
from models.tokens import TextCodec
from models.verify import verify, verify_adapters


class TokenStats(NamedTuple):
    """What a forward pass says of every response token: (B, T) float32, 0 outside the mask."""

    logprobs: Tensor
    values: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class SFTModel:
    """The model folder that a policy stands on, as checkpoints name it."""

    path: Path
    sha256: str


class Policy(nn.Module):
    """Frozen base with LoRA (or a fully trained network), critic, and reference.

    With LoRA the reference is the same network with the adapters off, so it costs no memory and is the SFT
    model exactly; with full tuning it is a frozen copy.
    """

    folds = True
    """Whether adapters are folded into the weights for decoding; else they are run beside them. When it is
    changed, `decoding` must let go of what it keeps."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        precision: Precision,
        *,
        reference: PreTrainedModel | None = None,
        sft: SFTModel | None = None,
        prompt: PromptForm | None = None,
        tune: TuneConfig | None = None,
        critic: CriticConfig | None = None,
        gradient_checkpointing: bool = False,
        pack: bool = True,
    ) -> None:
        """`reference` None: `model` is a peft model and its adapters are switched off instead.

        `sft`, `prompt`, `tune`, `critic`: how the policy was built and is asked, so that a checkpoint of it
        can be opened again.
        `gradient_checkpointing`: see `checkpoint_layers`. `pack`: whether texts may be packed where that is
        faster (models/packing.py).
        """
        super().__init__()
        self.adapted: Any = model  # as peft wraps it; without adapters the network itself
        network: Any = model if reference is not None else model.get_base_model()  # type: ignore[operator]
        self.network: PreTrainedModel = network
        self.critic = critic or CriticConfig()
        # In a list, so that it is neither moved, saved nor trained as a part of the policy.
        self._reference = [] if reference is None else [reference.requires_grad_(False).eval()]
        for each in (network, *self._reference):
            disable_dropout(each)
            quicken(each)
        self.head = find_head(network)
        # Widths of what is read: the output layer's input may be narrower than the layers (OPT-350m).
        embedding_size = network.get_input_embeddings().weight.shape[1]
        self.value_head = build_critic(self.critic, self.head.weight.shape[1], embedding_size)
        self.tokenizer = tokenizer
        self.precision = precision
        self.sft = sft
        self.tune = tune or TuneConfig()
        self.stop_ids = stop_ids(self.network, tokenizer)
        self.codec = TextCodec(tokenizer, self.stop_ids)
        self.ask_as(prompt)
        pad = tokenizer.pad_token_id
        self.pad_id: int = tokenizer.eos_token_id if pad is None else pad  # masks decide, never this id
        if gradient_checkpointing:
            checkpoint_layers(self.network)
        for each in (self, *self._reference):
            if any(p.device != precision.device for p in each.parameters()):
                each.to(precision.device)
        self.pack_limit = pack_limit(self.network, precision) if pack else 0
        # Weights that autocast casts are those of a network that is trained in float32.
        lasting = precision.exact or self.uses_lora or not self.trainable()
        self.decoding = Decoding(network, precision, lasting=lasting)

    def ask_as(self, prompt: PromptForm | None) -> None:
        """How problems are put to it, and at which texts its responses end."""
        self.prompt = prompt
        self.stop_strings = StopStrings(prompt.stop if prompt else (), self.codec)

    @property
    def uses_lora(self) -> bool:
        """Whether only adapters (and the value head) are trained."""
        return not self._reference

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.precision.device

    def trainable(self) -> dict[str, nn.Parameter]:
        """Trained parameters of the network by name; the value head's are apart."""
        return {name: p for name, p in self.adapted.named_parameters() if p.requires_grad}

    def plain_ways(self) -> str:
        """What of this model is calculated the plain, slower way because the short one does not fit it; empty
        where nothing is."""
        ways = [f"decoding ({reason})"] if (reason := self.decoding.plain_because) else []
        ways += plain_ways(self.network)
        if self.uses_lora:  # the other short ways are those of a frozen base
            ways += [f"adapters on {name}" for name in low_rank.others(self.adapted)]
            if not frozen_head.knows(self.head):
                ways.append("log-probabilities (its output layer has a bias, a cap or an adapter)")
            if self.precision.exact and self.device.type == "cpu":
                ways += [f"layers ({name})" for name in unknown_layers(self.network)]
        return f"{type(self.network).__name__}, the plain way: {', '.join(ways)}" if ways else ""

    def forward(self, batch: TokenBatch, temperature: float, *, entropy_grad: bool = False) -> TokenStats:
        """Log-probabilities under the sampling distribution, values and entropies of the response tokens."""
        return self.read(batch, temperature, entropy_grad=entropy_grad)[0]

    def read(
        self, batch: TokenBatch, temperature: float, *, entropy_grad: bool = False
    ) -> tuple[TokenStats, Reading]:
        """`forward`, and what the critic was handed."""
        with self.precision.autocast():
            hidden = self._response_states(self.network, batch)  # (N, H)
            logprobs, entropy = self._logprobs(self.head, hidden, batch, temperature, entropy_grad)
        return self.judge(batch, hidden, logprobs, entropy)

    def judge(
        self, batch: TokenBatch, hidden: Tensor, logprobs: Tensor, entropy: Tensor
    ) -> tuple[TokenStats, Reading]:
        """What `read` says, given what a pass has found: final states (N, H), numbers of the tokens (N,)."""
        reading = self._reading(hidden, batch, logprobs, entropy)
        values = self.value_head(reading)  # (N,)
        return TokenStats(*(_scatter(x, batch.response_mask) for x in (logprobs, values, entropy))), reading

    @torch.no_grad()
    def ref_logprobs(self, batch: TokenBatch, temperature: float) -> Tensor:
        """The same tokens under the SFT reference: (B, T)."""
        with self.as_reference() as network, self.precision.autocast():
            hidden = self._response_states(network, batch)
            head = replace(self.head, project=network.get_output_embeddings())
            logprobs, _ = self._logprobs(head, hidden, batch, temperature, False)
        return _scatter(logprobs, batch.response_mask)

    def generate(
        self,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        *,
        max_new_tokens: int,
        temperature: float,
        generator: torch.Generator,
        keep_states: bool = False,
        on_ended: Callable[[int, list[int]], None] | None = None,
    ) -> Generation:
        """Sample one response per prompt, with the adapters folded in; see models.generation.generate."""
        was_training, (rows, width) = self.training, prompt_ids.shape
        self.eval()  # in training mode gradient checkpointing would switch the KV cache off
        try:
            with self._folded() if self.folds else nullcontext(), self.precision.autocast():
                return generate(
                    self.decoding.reader(rows, width, max_new_tokens, share_head=self.pack_limit > 0),
                    self.head,
                    prompt_ids.to(self.device),
                    prompt_mask.to(self.device),
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    stop_ids=self.stop_ids,
                    stop_strings=self.stop_strings,
                    pad_id=self.pad_id,
                    generator=generator,
                    keep_states=keep_states,
                    on_ended=on_ended,
                )
        finally:
            self.decoding.done()
            self.train(was_training)

    @contextmanager
    def _folded(self) -> Iterator[None]:
        with merged(self.adapted), quick_layers(self.adapted, layouts=self.precision.exact):
            yield

    def text(self, response_ids: list[int]) -> str:
        """The text of one response; what ended it, a token or a text, is not part of it."""
        return self.stop_strings.cut(self.codec.text(response_ids))

    @contextmanager
    def as_reference(self) -> Iterator[PreTrainedModel]:
        """Run a block with the frozen SFT model: the copy of it, or the network with its adapters off."""
        if self._reference:
            yield self._reference[0]
        else:
            with disabled(self.adapted):
                yield self.network

    def _response_states(self, network: PreTrainedModel, batch: TokenBatch) -> Tensor:
        """Final hidden states from which each response token was (or would be) chosen: (N, H)."""
        self.decoding.release()
        if self.pack_limit and packing_saves(batch, self.pack_limit):
            return packed_states(network, batch, self.pack_limit)
        return row_states(network, batch)

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> Tensor:
        return self.network.get_input_embeddings()(ids)

    def _reading(self, hidden: Tensor, batch: TokenBatch, logprobs: Tensor, entropy: Tensor) -> Reading:
        """What the critic may see of this pass. Detached where a gradient would cost a second backward."""
        mask = batch.response_mask
        before = torch.cat([batch.prompt_ids[:, -1:], batch.response_ids[:, :-1]], dim=1)  # (B, T)
        real = batch.prompt_mask[..., None].float()  # (B, P, 1)
        prompt = (self._embed(batch.prompt_ids) * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)  # (B, E)
        return Reading(hidden, self._embed(before[mask]), prompt, logprobs, entropy, mask)

    def _logprobs(
        self, head: Head, hidden: Tensor, batch: TokenBatch, temperature: float, entropy_grad: bool
    ) -> tuple[Tensor, Tensor]:
        targets = batch.response_ids[batch.response_mask]  # (N,)
        return token_logprobs(hidden, head, targets, temperature, entropy_grad=entropy_grad)


def build_policy(
    sft_dir: Path,
    tune: TuneConfig,
    precision: Precision,
    seed: int,
    *,
    critic: CriticConfig | None = None,
    gradient_checkpointing: bool = False,
) -> Policy:
    """A policy that starts as the SFT model in `sft_dir` (a run of `train.py sft`, or a model folder).

    Raises:
        ModelError: the model or its tokenizer is missing or damaged, they do not go together, there is no
            EOS token, the model cannot recompute activations, its adapters would move other weights, or it
            does not compute here what it computes by itself (models/verify.py).
    """
    folder, sft = _sft_model(sft_dir)
    tokenizer = load_tokenizer(folder)
    # Trained weights stay float32 whatever the activations are in.
    model = load_model(folder, precision.dtype if tune.tune == "lora" else torch.float32)
    check_vocabulary(model, tokenizer, folder)
    reference = None if tune.tune == "lora" else load_model(folder, precision.dtype)
    policy = Policy(
        add_lora(model, tune, seed) if tune.tune == "lora" else model,
        tokenizer,
        precision,
        reference=reference,
        sft=sft,
        prompt=read_form(folder),
        tune=tune,
        critic=critic,
        gradient_checkpointing=gradient_checkpointing,
    )
    if not policy.trainable():
        raise ModelError("no parameter of the policy is trainable; check --tune and --lora-targets")
    verify(policy.network, policy.head, precision)
    if tune.tune == "lora":
        verify_adapters(policy.adapted, policy.head, precision)
    return policy


def frozen_policy(sft_dir: Path, precision: Precision) -> Policy:
    """The SFT model as a policy that is sampled and never trained: it is its own reference.

    Raises:
        ModelError: as `build_policy`.
    """
    folder, sft = _sft_model(sft_dir)
    model, tokenizer = load_model(folder, precision.dtype), load_tokenizer(folder)
    check_vocabulary(model, tokenizer, folder)
    policy = Policy(model, tokenizer, precision, reference=model, sft=sft, prompt=read_form(folder))
    verify(policy.network, policy.head, precision)
    return policy


def _sft_model(sft_dir: Path) -> tuple[Path, SFTModel]:
    """The model folder of an SFT run (or the folder itself), and how checkpoints name it."""
    folder = sft_dir / "model" if (sft_dir / "model").is_dir() else sft_dir
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder")
    return folder, SFTModel(folder.resolve(), weight_hash(folder))


def _scatter(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) values of the True places of a (B, T) mask, as (B, T) with zeros elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
