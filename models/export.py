"""A policy as others load it: one whole model, or an adapter that names its base.

The whole model is what the policy samples from: adapters folded into the weights in float32, then rounded
once, to the number format asked for. What was written is read back and compared with the policy on one text.
"""

import copy
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from torch import Tensor
from transformers import GenerationConfig

from models.adapter import fold_in, with_its_dropout
from models.errors import ModelError
from models.policy import Policy
from models.storage import disk_errors, load_model, load_tensors, load_tokenizer, save_tensors
from models.template import write_form

FORMATS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""Number formats of weights by their names in safetensors."""

# What may lie between two ways to the same logits in float32; as in models/verify.py.
_EXACT = 1e-4
_TEXT = "n = int(input())\nprint(sum(range(n)))\n"
_ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Base:
    """A model as an adapter names what it stands on."""

    name: str
    """A hub name, or the path of a folder."""
    revision: str | None
    """Of a hub name: the commit."""


@dataclass(frozen=True)
class Readback:
    """Mean differences of the log-probabilities of the tokens of one text, in nats."""

    rounding: float
    """Between the policy and what was written."""
    training: float
    """Between the policy and the model that it was trained from: what rounding must not hide."""


def base_of(folder: Path) -> Base:
    """How others are told of a model folder: by its hub name, where it is in the hub's cache, or its path."""
    found = re.search(r"/models--([^/]+)/snapshots/([0-9a-f]+)$", folder.resolve().as_posix())
    if found is None:
        return Base(str(folder.resolve()), None)
    return Base(found[1].replace("--", "/"), found[2])


def stored_dtype(folder: Path) -> torch.dtype:
    """The number format that most weights of a model folder have; float32 if none of the usual ones."""
    numbers: Counter[str] = Counter()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():
                part = tensors.get_slice(name)
                numbers[part.get_dtype()] += math.prod(part.get_shape())
    usual = [(number, name) for name, number in numbers.items() if name in FORMATS]
    return FORMATS[max(usual)[1]] if usual else torch.float32


def generation_settings(policy: Policy, temperature: float | None) -> GenerationConfig:
    """How the policy samples: at the temperature it was trained at, whatever the model it came from did.

    `temperature` None: it was not trained here, and keeps that model's settings. In any case every id that
    ends a response is an EOS id.
    """
    before = policy.network.generation_config
    settings = copy.deepcopy(before) if temperature is None else GenerationConfig()
    if temperature is not None:
        settings.do_sample, settings.temperature, settings.top_k, settings.top_p = True, temperature, 0, 1.0
    settings.bos_token_id = before.bos_token_id
    settings.pad_token_id = policy.pad_id
    settings.eos_token_id = policy.stop_ids if len(policy.stop_ids) > 1 else policy.stop_ids[0]
    return settings


@torch.no_grad()
def export_whole(
    folder: Path, policy: Policy, dtype: torch.dtype, temperature: float | None = None
) -> Readback:
    """Write the policy (float32, on the CPU) as one model, which it becomes by this. `temperature`: as above.

    Raises:
        ModelError: a weight is too large for `dtype`, or what was written does not say what the policy says.
    """
    said, before = _said(policy)
    network = fold_in(policy.adapted) if policy.uses_lora else policy.network
    network.generation_config = generation_settings(policy, temperature)
    _round(network, dtype)
    with with_its_dropout(network):
        _save(folder, policy, network)
    _round(network, torch.float32)
    expected = _logits(network, policy)
    written = _logits(load_model(folder, torch.float32), policy)
    _check_same(written, expected, "the model read back")
    if dtype == torch.float32:
        _check_same(written, said, "the merged model")
    return Readback(_apart(written, said, policy), _apart(before, said, policy))


@torch.no_grad()
def export_adapter(folder: Path, policy: Policy, dtype: torch.dtype = torch.float32) -> Readback:
    """Write the policy's adapter (the policy in float32, on the CPU), its numbers in `dtype`; as above."""
    assert policy.sft is not None
    said, before = _said(policy)
    save_adapter(folder, policy, base_of(policy.sft.path))
    if dtype != torch.float32:
        tensors = {name: t.to(dtype) for name, t in load_tensors(folder / _ADAPTER).items()}
        _check_finite(tensors, dtype)
        save_tensors(folder / _ADAPTER, tensors)
    _save_words(folder, policy)
    base = load_model(policy.sft.path, torch.float32)
    written = _logits(PeftModel.from_pretrained(base, folder), policy)
    if dtype == torch.float32:
        _check_same(written, said, "the adapter on its base")
    return Readback(_apart(written, said, policy), _apart(before, said, policy))


def save_adapter(folder: Path, policy: Policy, base: Base | None) -> None:
    """Write the adapter as peft does, with its base named: peft would name what the base came from.

    In its two parts: as a whole it fills in a form of a README, too, which takes longer than all the rest.
    """
    config = copy.copy(policy.adapted.peft_config["default"])
    config.inference_mode = True
    if base is not None:
        config.base_model_name_or_path, config.revision = base.name, base.revision
    # No embeddings are trained; asking peft to find out would look the base model up.
    tensors = get_peft_model_state_dict(policy.adapted, save_embedding_layers=False)
    with disk_errors(folder):
        config.save_pretrained(folder)
        save_tensors(folder / _ADAPTER, tensors)


def _save(folder: Path, policy: Policy, network: Any) -> None:
    with disk_errors(folder):
        network.save_pretrained(folder)
    _save_words(folder, policy)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not config.get("architectures"):
        raise ModelError(
            f"{type(network).__name__}: writes no name of its architecture, by which others load it"
        )


def _save_words(folder: Path, policy: Policy) -> None:
    """The tokenizer with its chat template, and how problems are put to the policy."""
    with disk_errors(folder):
        policy.tokenizer.save_pretrained(folder)
    if policy.prompt is not None:
        write_form(folder, policy.prompt)
    ids = load_tokenizer(folder)(_TEXT).input_ids
    if ids != policy.tokenizer(_TEXT).input_ids:
        raise ModelError(f"{policy.tokenizer.name_or_path}: its tokenizer reads otherwise once it is written")


def _round(network: Any, dtype: torch.dtype) -> None:
    """Put the weights into a number format. Buffers stay: loading makes them anew."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    _check_finite(dict(network.named_parameters()), dtype)


def _check_finite(tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelError(
                f"{name} has numbers too large for {str(dtype).removeprefix('torch.')}; take bfloat16"
            )


def _said(policy: Policy) -> tuple[Tensor, Tensor]:
    """Logits (L, V) of the policy and of its reference for one text."""
    policy.eval()
    with policy.as_reference() as reference:
        before = _logits(reference, policy)
    return _logits(policy.adapted, policy), before


def _probe(policy: Policy) -> Tensor:
    """Ids (1, L) of a short text."""
    return torch.tensor([policy.tokenizer(_TEXT, add_special_tokens=False).input_ids])


def _logits(model: Any, policy: Policy) -> Tensor:
    return model.eval()(input_ids=_probe(policy)).logits[0].float()  # (L, V)


def _apart(logits: Tensor, others: Tensor, policy: Policy) -> float:
    """Mean difference of the log-probabilities of the text's tokens, in nats."""
    ids = _probe(policy)[0, 1:, None]
    one, other = (torch.log_softmax(x[:-1], dim=-1).gather(-1, ids) for x in (logits, others))
    return (one - other).abs().mean().item()


def _check_same(found: Tensor, expected: Tensor, what: str) -> None:
    if not torch.allclose(found, expected, rtol=_EXACT, atol=_EXACT):
        gap = (found - expected).abs().max().item()
        raise ModelError(f"{what} differs from the policy by {gap:.2g} in a logit: it was not exported")
