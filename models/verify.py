"""Once, at load: is the model as this project runs it the model as its authors run it?

The model's logits for a text by itself, without padding or cache, are the authority. Against them stand what
is made of padded batches here, by the short ways of this project: log-probabilities from hidden states, and
decoding token by token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from models.adapter import disabled, merged
from models.batch import TokenBatch
from models.causal_attention import CAUSAL_PARTS
from models.errors import ModelError
from models.generation import generate
from models.head import Head, unknown_ways
from models.logprobs import token_logprobs
from models.precision import Precision
from models.reader import Reader
from models.rms_norm import RMS_NORM
from models.rotary import ROTARY
from models.rows import row_states

# Two prompts of different lengths, so that one is padded, and what is decoded after them.
_PROMPTS, _NEW_TOKENS = (5, 24), 4

# And the same prompts as prompts and what is read after them.
_PARTS = slice(None, -_NEW_TOKENS), slice(-_NEW_TOKENS, None)

# In float32, of a log-probability, and per nat of it: ten times what rounding does to a pretrained model
# (9e-6), and what the update allows between rollout and first minibatch.
_EXACT = 1e-4

# In 16 bits, mean over the tokens. Wide, because other kernels may round a batch in another order than a row
# (on the CPU they do not: 4e-6 in bfloat16). Scale and cap, which smaller differences would tell, are read
# off exactly in `find_head`; and PPO stops at 0.05 on what it samples.
_ROUNDED = 0.25


@torch.no_grad()
def verify(network: Any, head: Head, precision: Precision) -> None:
    """Compare our log-probabilities, and those of decoding, with a causal language model's own.

    `head`: of the network, see `models.head.find_head`. Adapters on it are left on. No generator but one of
    its own is drawn from.

    Raises:
        ModelError: they differ, or the model cannot be run this way, in one line that says what differs.
    """
    name = type(network).__name__
    with unknown_ways(network), _as_it_was(network), precision.autocast():
        network.eval()
        _check_cache(network)
        prompt_ids, prompt_mask = (x.to(precision.device) for x in _prompts(network))  # (B, P)
        draws = torch.Generator().manual_seed(0)
        sampled = generate(
            Reader(network, _NEW_TOKENS),
            head,
            prompt_ids,
            prompt_mask,
            max_new_tokens=_NEW_TOKENS,
            temperature=1.0,
            stop_ids=[],
            pad_id=0,
            generator=draws,
        )
        batch = TokenBatch(prompt_ids, prompt_mask, sampled.response_ids, sampled.response_mask)
        texts = zip(prompt_ids, prompt_mask, sampled.response_ids, strict=True)
        theirs = torch.stack(
            [
                own_logprobs(network, torch.cat([prompt[real], new]), _NEW_TOKENS)
                for prompt, real, new in texts
            ]
        )
        network.train()  # as in an update
        ours = _batch_logprobs(network, head, batch)
    for found, what in ((ours, "log-probabilities of a padded batch"), (sampled.logprobs, "decoding")):
        if _differ(found, theirs, precision):
            gap = (found - theirs).abs().max().item()
            raise ModelError(
                f"{name}: {what} and the model's own logits differ by {gap:.2g} nats at a token: this "
                "architecture cannot be trained here"
            )


@torch.no_grad()
def verify_adapters(model: Any, head: Head, precision: Precision) -> None:
    """Compare fresh adapters with none, and adapters that do something with themselves folded into the base.

    Raises:
        ModelError: they differ.
    """
    network = model.get_base_model()
    name = type(network).__name__
    adapters = [p for p in network.parameters() if p.requires_grad]
    fresh = [p.clone() for p in adapters]
    ids, mask = (x.to(precision.device) for x in _prompts(network))
    batch = TokenBatch(*(x[:, part] for part in _PARTS for x in (ids, mask)))
    with unknown_ways(network), _as_it_was(network), precision.autocast():
        network.eval()
        beside = _batch_logprobs(network, head, batch)
        with disabled(model):
            without = _batch_logprobs(network, head, batch)
        try:
            for p in adapters:
                p += 0.02 * torch.arange(p.numel(), device=p.device).cos().reshape(p.shape)
            moved = _batch_logprobs(network, head, batch)
            with merged(model):
                folded = _batch_logprobs(network, head, batch)
        finally:
            for p, original in zip(adapters, fresh, strict=True):
                p.copy_(original)
    for found, expected, what in (
        (beside, without, "fresh adapters change the model"),
        (folded, moved, "adapters beside the weights and folded into them differ"),
    ):
        if _differ(found, expected, precision):
            gap = (found - expected).abs().max().item()
            raise ModelError(f"{name}: {what}, by {gap:.2g} nats at a token; choose other --lora-targets")


def _prompts(network: Any) -> tuple[Tensor, Tensor]:
    """Fixed ids (B, P) from all over the vocabulary, and their mask, padded on the left."""
    vocabulary, width = network.get_input_embeddings().weight.shape[0], max(_PROMPTS)
    ids = (31 * torch.arange(len(_PROMPTS) * width) + 7).remainder(vocabulary).reshape(-1, width)
    mask = torch.arange(width) >= width - torch.tensor(_PROMPTS)[:, None]
    return ids.where(mask, 0), mask


def own_logprobs(network: Any, ids: Tensor, last: int) -> Tensor:
    """Of the `last` tokens of one text without padding, by the model's own layers and logits: (last,).

    Our short ways round elsewhere, which moves a mean in 16 bits by 3e-5.
    """
    with RMS_NORM.off(), ROTARY.off(), CAUSAL_PARTS.off():
        logits = network(input_ids=ids[None]).logits[0, -last - 1 : -1]
    return torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[-last:, None]).squeeze(-1)


def _batch_logprobs(network: Any, head: Head, batch: TokenBatch) -> Tensor:
    """Of the last tokens of texts of different lengths, the way a policy takes them: (B, T)."""
    targets = batch.response_ids
    states = row_states(network, batch)  # (B·T, H)
    logprobs, _ = token_logprobs(states, head, targets.flatten(), temperature=1.0)
    return logprobs.reshape(targets.shape)


def _differ(ours: Tensor, theirs: Tensor, precision: Precision) -> bool:
    if precision.exact:
        return not torch.allclose(ours, theirs, rtol=_EXACT, atol=_EXACT)
    return not (ours - theirs).abs().mean() <= _ROUNDED  # "not <=": a NaN differs too


def _check_cache(network: Any) -> None:
    """Raise ModelError unless all that a model carries from token to token is keys and values."""
    ids = torch.arange(3, device=network.get_input_embeddings().weight.device)[None]
    cache = getattr(network(input_ids=ids, use_cache=True), "past_key_values", None)
    kept = {type(layer) for layer in getattr(cache, "layers", [])}
    if not kept or kept - {DynamicLayer, DynamicSlidingWindowLayer}:
        found = ", ".join(sorted(kind.__name__ for kind in kept)) or "no cache of keys and values"
        raise ModelError(
            f"{type(network).__name__}: carries more than keys and values from token to token ({found}): a "
            "recurrent or convolutional state, which padding disturbs, cannot be trained here"
        )


@contextmanager
def _as_it_was(network: nn.Module) -> Iterator[None]:
    """Leave the network in the mode it was in."""
    was_training = network.training
    try:
        yield
    finally:
        network.train(was_training)
