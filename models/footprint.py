"""What a model and its training take in memory, part by part, from its configuration alone.

What lies in memory throughout is counted on the meta device, where a model has shapes and nothing else. What
comes and goes (activations, logits, the KV cache) is found by a rehearsal of the real code, on three and on
two of the model's blocks: every further one adds the difference.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from models.adapter import TuneConfig, adapted_weights, add_lora, checkpoint_layers
from models.cache import roomy_cache
from models.causal_attention import CAUSAL_PARTS, heaviest
from models.errors import ModelError
from models.graph_reader import in_whole_pieces
from models.head import find_head
from models.logprobs import positions
from models.low_rank import KEPT_SUMS, kept_sums
from models.precision import Precision
from models.quick_layers import has_layouts, linear_layers
from models.quicken import quicken
from models.rehearsal import Ledger, fill_gradients, imagine, rehearsal, without_masks
from models.sampling import sample_tokens
from models.sft_config import SFTConfig
from models.sft_data import Demonstration
from models.sft_loss import completion_loss

Parts = dict[str, int]
"""Bytes by what they are for."""

_DEPTHS = (3, 2)  # in this order: a model is only ever made shorter
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shape:
    """A model to be trained, known by its configuration."""

    config: Any
    """As transformers' AutoConfig gives it"""
    tune: TuneConfig
    precision: Precision
    """On whatever device it is to be; nothing is put there"""

    @property
    def layers(self) -> int:
        """How many blocks it has."""
        return int(self.config.get_text_config().num_hidden_layers)

    @property
    def rehearsed(self) -> Precision:
        """The same format on the CPU: a rehearsal needs no other device."""
        return Precision(_CPU, self.precision.dtype)

    def network(self, dtype: torch.dtype) -> PreTrainedModel:
        """The network on the meta device, with the short ways that a loaded one gets.

        Raises:
            ModelError: the configuration is not that of a causal language model.
        """
        try:
            with torch.device("meta"):
                network = AutoModelForCausalLM.from_config(self.config, dtype=dtype)
        except (ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"{type(self.config).__name__}: no causal language model can be made of this configuration: "
                f"{_first_line(error)}"
            ) from error
        quicken(network)
        return network

    def adapted(self) -> Any:
        """The network as it is trained: with adapters, or all of it in float32. Raises ModelError."""
        if self.tune.tune == "full":
            return self.network(torch.float32)
        network = self.network(self.precision.dtype)
        with torch.device("meta"):
            return add_lora(network, self.tune, seed=0)

    def reference(self) -> Any:
        """The copy that is kept as reference; None where it is the network without its adapters."""
        return self.network(self.precision.dtype) if self.tune.tune == "full" else None


def by_depth(shape: Shape, networks: Sequence[Any], measure: Callable[[Ledger], Parts]) -> Parts:
    """The parts of a whole model, from what `measure` finds with its first blocks in a rehearsal.

    `networks`: what `measure` runs; they are left short and without weights.

    Raises:
        ModelError: the model's code needs numbers to run.
    """
    found: list[Parts] = []
    for depth in _DEPTHS if shape.layers > _DEPTHS[1] else _DEPTHS[1:]:
        for network in networks:
            _shorten(network, depth, shape.layers)
        try:
            with rehearsal() as ledger, _ways_of(shape.precision.device):
                for network in networks:
                    imagine(network)
                found.append(measure(ledger))
        except RuntimeError as error:  # torch's own, NotImplementedError among them
            raise ModelError(
                f"{type(shape.config).__name__}: cannot be planned, its code asks for more than shapes: "
                f"{_first_line(error)}"
            ) from error
    more, fewer = found[0], found[-1]
    further = max(0, shape.layers - _DEPTHS[1])
    return {name: fewer[name] + further * (more[name] - fewer[name]) for name in fewer}


@contextmanager
def _ways_of(device: torch.device) -> Iterator[None]:
    """What is done on a CPU alone is left out where the device is another: it is rehearsed on one."""
    with ExitStack() as stack:
        for shortcut in (CAUSAL_PARTS, KEPT_SUMS) if device.type != "cpu" else ():
            stack.enter_context(shortcut.off())
        yield


def _shorten(network: Any, depth: int, layers: int) -> None:
    """Leave a model its first blocks alone, if it has a list of them."""
    base = network.get_base_model() if hasattr(network, "get_base_model") else network
    decoder = base.get_decoder()
    for name, child in decoder.named_children():
        if isinstance(child, nn.ModuleList) and depth < len(child) <= layers:
            setattr(decoder, name, child[:depth])


# --- what stays ---


def trained_bytes(network: nn.Module) -> int:
    """Of the weights that are trained."""
    return _bytes(p for p in network.parameters() if p.requires_grad)


def weight_parts(network: nn.Module, reference: nn.Module | None, tune: TuneConfig) -> Parts:
    """The weights of the network, and what training adds to them."""
    total = _bytes(_tensors(network))
    if reference is not None:
        return {"weights": total, "reference": _bytes(_tensors(reference))}
    adapters = trained_bytes(network) if tune.tune == "lora" else 0
    return {"weights": total - adapters} | ({"adapters": adapters} if adapters else {})


def trained_parts(trained: int) -> Parts:
    """What stands beside `trained` bytes of trained weights, all float32, from the first step on.

    AdamW keeps two moments of each. Gradients stay until the next backward pass begins.
    """
    return {"gradients": trained, "moments of AdamW": 2 * trained}


def merged_copy(network: nn.Module) -> int:
    """Bytes of the weights that are kept as they are while adapters are folded into them."""
    return _bytes(adapted_weights(network))


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    """Parameters and buffers, each once."""
    return {id(t): t for t in (*module.parameters(), *module.buffers())}.values()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


# --- what comes and goes ---


def backward_parts(ledger: Ledger, loss: Callable[[], Tensor]) -> Parts:
    """What a forward and a backward pass take beside weights and gradients.

    `kept` lives from the forward pass to the backward pass; `widest` is the most that any moment takes
    beside it: a chunk of logits, or the backward pass of a block. `sums` of weights and adapters live for all
    passes of a step (models/low_rank.py).
    """
    start = ledger.restart()
    with without_masks(), kept_sums() as sums:
        value = loss()
        summed = _bytes(sums.values())
        kept = ledger.live - start - summed
        value.backward()
    return {"kept": kept, "widest": ledger.peak - start - kept - summed, "sums": summed}


def most(found: Iterable[Parts]) -> Parts:
    """Of several measurements the larger figure of each item."""
    measured = list(found)
    return {name: max(each[name] for each in measured) for name in measured[0]}


def step_part(ledger: Ledger, parameters: list[nn.Parameter], precision: Precision) -> int:
    """The most that a step of AdamW takes beside its moments: on a GPU it works on all weights at once."""
    optimizer = torch.optim.AdamW(parameters, foreach=precision.device.type == "cuda")
    optimizer.step()  # makes the moments
    start = ledger.restart()
    optimizer.step()
    return ledger.peak - start


def gradient_parts(found: Parts, checkpointing: bool) -> Parts:
    """The items of a backward pass, or of the optimizer's step where that takes more."""
    if found["step"] > found["kept"] + found["widest"] + found["sums"]:
        return {"optimizer's step": found["step"]}
    name = "activations (what enters a block)" if checkpointing else "activations"
    parts = {name: found["kept"], "widest moment beside them": found["widest"]}
    return parts | ({"weights with their adapters": found["sums"]} if found["sums"] else {})


def decode_parts(network: Any, ledger: Ledger, rows: int, prompt_tokens: int, new_tokens: int) -> Parts:
    """Sampling with the adapters folded in: the prompts' pass, and the last step, with the longest KV cache.

    `cache` and `decode` are alive together in that step, `prefill` in that pass; `prompts` of it is cache.
    """
    start = ledger.restart()
    cache = roomy_cache(prompt_tokens + new_tokens)
    with torch.no_grad():
        _decode(network, cache, rows, prompt_tokens, prompt_tokens)
        prefill, prompts = ledger.peak - start, sum(layer.nbytes for layer in cache.layers)
        length = prompt_tokens + new_tokens
        for layer in cache.layers:  # as full as before the last step
            held = (layer.keys, layer.values)  # (b, heads, prompt_tokens, size)
            layer.update(*(x.new_empty(*x.shape[:2], new_tokens - 1, x.shape[3]) for x in held))
        del held
        longest = sum(layer.nbytes for layer in cache.layers)
        ledger.restart()
        _decode(network, cache, rows, 1, length)
    decode = ledger.peak - start - longest
    return {"cache": longest, "decode": decode, "prefill": prefill, "prompts": prompts}


def _decode(network: Any, cache: Any, rows: int, tokens: int, length: int) -> None:
    """One pass of `models.reader.Reader`, and the choice of a token."""
    mask = torch.ones(rows, length, dtype=torch.long)
    decoder = network.get_decoder()
    placed = {name: place[:, -tokens:] for name, place in positions(decoder, mask).items()}
    states = decoder(
        input_ids=torch.zeros(rows, tokens, dtype=torch.long),
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
        **placed,
    ).last_hidden_state[:, -1]  # (b, H)
    logits = network.get_output_embeddings()(states)
    sample_tokens(logits, 1.0, torch.zeros(rows, dtype=torch.float64))


def layout_bytes(network: nn.Module, precision: Precision) -> int:
    """Bytes of the copies of linear layers' weights that decoding reads (models/quick_layers.py)."""
    if not (precision.exact and precision.device.type == "cpu" and has_layouts()):
        return 0
    return _bytes(layer.weight for layer in linear_layers(network).values())


def sampling_parts(found: Parts, precision: Precision, tokens: int) -> Parts:
    """The items of sampling: of the last step, or of the prompts' pass where that takes more.

    Where steps are recorded the whole cache is there from the start, with a few places more than `tokens`.
    """
    if precision.records:
        cache = found["cache"] * in_whole_pieces(tokens) // tokens
        return {
            "KV cache": cache,
            "pass beside it": max(found["decode"], found["prefill"] - found["prompts"]),
        }
    if found["prefill"] > found["cache"] + found["decode"]:
        return {"the prompts' pass, with its KV cache": found["prefill"]}
    return {"KV cache": found["cache"], "decoding step": found["decode"]}


def sft_parts(shape: Shape, config: SFTConfig) -> Parts:
    """A step of SFT on demonstrations of full length. Raises ModelError."""
    network = shape.adapted()
    base = network.get_base_model() if shape.tune.tune == "lora" else network
    resting = weight_parts(network, None, shape.tune) | trained_parts(trained_bytes(network))
    size = min(config.micro_batch_size, config.batch_size)

    def measure(ledger: Ledger) -> Parts:
        if config.gradient_checkpointing:
            checkpoint_layers(base)
        network.train()
        fill_gradients(network)

        def loss(length: int) -> Tensor:
            # All of a row to be learnt: logits of every token. One more ends it.
            batch = [Demonstration((0,), (0,) * (length - 2))] * size
            with shape.rehearsed.autocast():
                return completion_loss(network, find_head(base), batch, 0, _CPU)

        lengths = heaviest(config.max_tokens)
        found = most(backward_parts(ledger, partial(loss, length)) for length in lengths)
        trained = [p for p in network.parameters() if p.requires_grad]
        return found | {"step": step_part(ledger, trained, shape.precision)}

    found = by_depth(shape, [network], measure)
    return resting | gradient_parts(found, config.gradient_checkpointing)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
