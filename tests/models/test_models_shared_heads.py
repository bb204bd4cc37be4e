"""Shared keys and values are repeated where no kernel takes them shared, and nothing else changes."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.integrations import sdpa_attention

from models import precision
from models.precision import DeviceConfig, resolve_precision
from models.shared_heads import has_kernel, repeat_shared_heads
from tests.architectures import small_model


class Heads(TorchDispatchMode):
    """How many heads the keys have that an attention is given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "scaled_dot_product" in func.name():
            self.found.add(args[1].shape[1])
        return func(*args, **(kwargs or {}))


def test_repeated_they_give_the_same_states():
    model, ids = small_model("llama").train(), torch.arange(24).reshape(2, 12)
    config = model.config
    assert config.num_key_value_heads < config.num_attention_heads
    states = []
    for heads in (config.num_key_value_heads, config.num_attention_heads):
        with Heads() as seen, torch.no_grad():
            states.append(model.get_decoder()(ids, use_cache=False).last_hidden_state)
        assert seen.found == {heads}
        repeat_shared_heads()
    torch.testing.assert_close(*states, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "dtype, capability, expected",
    [
        ("bfloat16", (9, 0), True),
        ("float16", (8, 0), True),
        ("float16", (7, 0), False),
        ("float16", (7, 5), False),
        ("float32", (9, 0), False),
    ],
)
def test_which_gpu_has_a_kernel(monkeypatch, dtype, capability, expected):
    """It is asked where a GPU is chosen."""
    assert has_kernel(getattr(torch, dtype), capability) == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(precision, "check_kernels", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)
    plain = sdpa_attention.use_gqa_in_sdpa
    resolve_precision(DeviceConfig(device="cuda", dtype=dtype))
    assert (sdpa_attention.use_gqa_in_sdpa is plain) == expected
