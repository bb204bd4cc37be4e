"""What a model does around its output layer is read off the model, whatever it is called there."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import small_model
from torch import Tensor

from models.errors import ModelError
from models.head import find_head


def changed(
    model: Any, *, states: Callable[[Tensor], Tensor] = lambda h: h, logits: Callable = lambda x: x
) -> Any:
    """The model with something done to its hidden states before the output layer, and to its logits after."""

    class Changed(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, **settings: Any) -> Any:
            found = self.model(input_ids=input_ids, **settings)
            found.logits = logits(self.lm_head(states(found.last_hidden_state)))
            return found

    model.__class__ = Changed
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("name", "scale", "cap"),
    [
        ("llama", 1.0, math.inf),
        ("granite", 1 / 13, math.inf),
        ("cohere", 0.3, math.inf),
        ("gemma2", 1.0, 30.0),
    ],
)
def test_scale_and_cap_are_read_off(name, scale, cap, dtype):
    """Granite divides by logits_scaling, Cohere multiplies by logit_scale, Gemma 2 caps: in 16 bits as
    exactly as in float32."""
    head = find_head(small_model(name).to(dtype))
    assert head.scale == pytest.approx(scale, rel=1e-6) and head.cap == cap
    assert (head.scale == 1.0) == (scale == 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"logits": lambda x: x * 0.25},
        {"logits": lambda x: x / 3.0},
        {"logits": lambda x: 2.5 * torch.tanh(x / 2.5)},
        {"logits": lambda x: 7.0 * torch.tanh(0.5 * x / 7.0)},
        {"states": lambda h: h / 1.7},
        {"states": lambda h: h * 4.0, "logits": lambda x: x * 0.1},
        {"states": lambda h: h * 0.5, "logits": lambda x: 3.0 * torch.tanh(x / 3.0)},
    ],
)
def test_whatever_scales_and_caps_is_followed(change):
    """By logits of real hidden states, large and small, against the model's own."""
    model, ids = changed(small_model("llama", sharpness=20.0), **change), torch.arange(40, 60)[None]
    with torch.no_grad():
        hidden = model.model(input_ids=ids).last_hidden_state[0]
        expected = model(input_ids=ids).logits[0]
        assert (expected - model.lm_head(hidden)).abs().max() > 0.5
        torch.testing.assert_close(find_head(model)(hidden), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"logits": lambda x: x + 1.0},
        {"logits": lambda x: x.clamp(-50, 50)},
        {"logits": lambda x: x[..., :200]},
        {"logits": lambda x: x.flip(-1)},
        {"logits": lambda x: x - x.mean(-1, keepdim=True)},
        {"logits": lambda x: x.sign() * x.abs().sqrt()},
        {"states": lambda h: torch.nn.functional.layer_norm(h, h.shape[-1:])},
        {"states": lambda h: h.relu()},
        {"states": lambda h: h.roll(1, dims=1)},
    ],
)
def test_anything_else_is_refused(change):
    with pytest.raises(ModelError, match=r"Changed: .*neither a scale nor a soft cap"):
        find_head(changed(small_model("llama"), **change))


def test_a_bias_is_not_scaled_with_the_states():
    """W (h/2) + b is not (W h + b)/2; after the output layer, the bias is scaled too."""
    model = small_model("phi")  # its output layer has a bias
    assert find_head(model).scale == 1.0
    assert find_head(changed(model, logits=lambda x: x / 2)).scale == 0.5
    with pytest.raises(ModelError, match="Changed"):
        find_head(changed(small_model("phi"), states=lambda h: h / 2))


def test_looking_leaves_no_trace():
    """No hook stays, no number of torch's generator is used, and the logits are what they were."""
    model, ids = small_model("gemma2"), torch.arange(9)[None]
    before, state = model(input_ids=ids).logits, torch.get_rng_state()
    find_head(model)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(model(input_ids=ids).logits, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
