"""Layer and adapter as one function against peft's own way, values and gradients, in float64 and mixed."""

from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import nn

from models import low_rank
from models.adapter import TuneConfig, add_lora, checkpoint_layers, disabled, merged
from models.low_rank import KEPT_SUMS, LOW_RANK, LowRankLinear, Weights, _adds_to_weight, _LowRank, kept_sums
from tests.architectures import small_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [1, 2, 3, 4, 5, 6, 7, 8]]).tile(1, 3)
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapted(name: str = "llama", dtype: torch.dtype = torch.float32, targets=ALL) -> PeftModel:
    """Adapters that do something, on small weights."""
    model = add_lora(small_model(name).to(dtype), TuneConfig(lora_rank=3, lora_targets=targets), seed=1)
    for n, p in model.named_parameters():
        if "lora_B" in n:
            p.data.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(n)))
    return model


def results(model: PeftModel, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Hidden states, and the gradient of every adapter by a loss with many directions."""
    model.zero_grad()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        states = model.get_base_model().get_decoder()(IDS, use_cache=False).last_hidden_state
    loss = (states.double() * torch.linspace(-1, 1, states.numel()).reshape(states.shape)).sum()
    loss.backward()
    return {"states": states.detach()} | {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("rows", [6, 1, 0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("summed", [False, True])
def test_gradients_are_those_of_finite_differences(rows, bias, summed):
    torch.manual_seed(0)
    shape = (rows, 5)
    layer = nn.Linear(5, 4, bias=bias, dtype=torch.float64).requires_grad_(False)
    x, a, b = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (shape, (3, 5), (4, 3)))
    expected = layer(x) + 1.5 * x @ a.T @ b.T

    def outcome(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        total = (layer.weight + 1.5 * b @ a).detach() if summed else None
        return _LowRank.apply(x, Weights(layer.weight, layer.bias, a, b, 1.5, total), a, b)

    torch.testing.assert_close(outcome(x, a, b), expected)
    assert torch.autograd.gradcheck(outcome, (x, a, b))


@pytest.mark.parametrize("shape", [(5,), (0, 5), (2, 3, 5), (2, 2, 2, 5)])
def test_any_shape_goes_through_and_what_comes_out_may_be_written_into(shape):
    """OLMo clips queries, keys and values in their place."""
    torch.manual_seed(0)
    found = []
    wrapped = get_peft_model(nn.Sequential(nn.Linear(5, 4)), LoraConfig(r=3, target_modules=["0"]))
    old = wrapped.base_model.model[0]
    layer = LowRankLinear(old.base_layer, "default", LoraConfig(r=3), r=3)
    layer.lora_B["default"].weight.data.normal_()
    x = torch.randn(shape)
    for switch in (nullcontext(), LOW_RANK.off()):
        layer.zero_grad()
        with switch:
            y = layer(x)
            y.clamp_(-0.5, 0.5)
            y.square().sum().backward()
        found.append([y, layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("rows, adds", [(2, False), (3, True), (50, True)])
def test_few_rows_have_a_product_of_their_own(rows, adds):
    """A weight of 4 x 5 is made anew: 20 numbers, where a row has 9 going in and out."""
    x, weight, a, b = (torch.ones(shape) for shape in ((rows, 5), (4, 5), (3, 5), (4, 3)))
    assert _adds_to_weight(x, weight, a, b) == adds
    assert not _adds_to_weight(x.bfloat16(), weight.bfloat16(), a, b)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen2"])  # without and with a bias
def test_a_model_has_the_same_states_and_gradients(name, summed, recompute):
    model = adapted(name).double().train()
    if recompute:
        checkpoint_layers(model.get_base_model())
    assert all(type(m) is LowRankLinear for m in model.modules() if isinstance(m, Linear))
    with kept_sums() if summed else nullcontext():
        short = results(model)
    with LOW_RANK.off():
        plain = results(model)
    assert len(short) == 1 + 2 * 2 * len(ALL)
    for key, value in short.items():
        torch.testing.assert_close(value, plain[key], rtol=1e-9, atol=1e-9)


def test_sums_are_made_once_in_a_block_and_anew_in_the_next(monkeypatch):
    """As many as layers, however many micro-batches; a step between two blocks is seen in the second."""
    model, made = adapted(dtype=torch.float64), []
    add = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: (made.append(1), add(*a, **k))[1])
    for block in (1, 2):
        with kept_sums():
            first, second = results(model), results(model)
            assert len(made) == block * 2 * len(ALL)
        with KEPT_SUMS.off(), kept_sums():
            plain = results(model)
        for key, value in plain.items():
            torch.testing.assert_close(first[key], value, rtol=1e-9, atol=1e-9)
            assert torch.equal(first[key], second[key])
        with torch.no_grad():
            for p in (p for p in model.parameters() if p.requires_grad):
                p.mul_(1.5)
    results(model)  # outside of a block every product is its own
    assert len(made) == 2 * 2 * len(ALL)


def test_sums_are_forgotten_when_a_step_fails():
    with pytest.raises(KeyboardInterrupt), kept_sums():
        results(adapted())
        assert low_rank._sums
        raise KeyboardInterrupt
    assert low_rank._sums is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("entering", ["rounded", "float32"])
def test_under_autocast_formats_are_peft_s_and_errors_no_larger(dtype, entering):
    """Base and activations in 16 bits, adapters and their gradients in float32."""
    model = adapted(dtype=dtype, targets=("up_proj",))
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 32, generator=generator).to(dtype if entering == "rounded" else torch.float32)
    upstream = torch.randn(50, 48, generator=generator).to(dtype)

    def outcome(mixed: bool) -> list[torch.Tensor]:
        entered = x.detach().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=mixed):
            y = layer(entered.to(next(layer.base_layer.parameters()).dtype) if not mixed else entered)
        trained = [p for p in layer.parameters() if p.requires_grad]
        return [y, *torch.autograd.grad(y, [entered, *trained], upstream.to(y.dtype))]

    short = outcome(True)
    with LOW_RANK.off():
        plain = outcome(True)
    layer.double()
    for ours, theirs, exact in zip(short, plain, outcome(False), strict=True):
        assert ours.dtype == theirs.dtype
        errors = [(each.double() - exact).norm() / exact.norm() for each in (ours, theirs)]
        assert errors[0] <= 1.5 * errors[1] and errors[0] < 0.02


def test_half_precision_without_autocast_is_peft_s_own_way():
    model = adapted(dtype=torch.float16)
    with LOW_RANK.off():
        plain = results(model)
    for key, value in results(model).items():
        assert torch.equal(value, plain[key])


def test_off_folded_and_on_again():
    """Adapters off are the base to the bit; folded in they are what they are beside it."""
    model = adapted().eval()
    with torch.no_grad():
        states = model.get_base_model().get_decoder()
        beside = states(IDS).last_hidden_state
        base = small_model("llama").get_decoder()(IDS).last_hidden_state
        with disabled(model):
            assert torch.equal(states(IDS).last_hidden_state, base)
        with merged(model):
            torch.testing.assert_close(states(IDS).last_hidden_state, beside, rtol=1e-4, atol=1e-4)
        assert torch.equal(states(IDS).last_hidden_state, beside)
        model.merge_adapter()  # peft's own
        torch.testing.assert_close(states(IDS).last_hidden_state, beside, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}, {"bias": "all"}]
)
def test_another_kind_of_adapter_goes_peft_s_way(settings):
    config = LoraConfig(r=3, target_modules=["q_proj"], task_type="CAUSAL_LM", **settings)
    config._register_custom_module({nn.Linear: LowRankLinear})
    model = get_peft_model(small_model("qwen2"), config).eval()
    for n, p in model.named_parameters():
        if "lora_B" in n:
            p.data.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(n)))
    short = results(model)
    with LOW_RANK.off():
        plain = results(model)
    for key in ("states", next(n for n in plain if "lora_A" in n)):
        torch.testing.assert_close(short[key], plain[key], rtol=1e-6, atol=1e-6)


def test_two_adapters_go_peft_s_way():
    model = adapted(targets=("q_proj",))
    model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "second"])
    short = results(model)
    with LOW_RANK.off():
        plain = results(model)
    assert torch.equal(short["states"], plain["states"])


def test_files_are_peft_s(tmp_path):
    """The adapter opens with peft alone, with the same numbers, and no word of our class is in it."""
    model = adapted().eval()
    model.save_pretrained(tmp_path)
    assert "LowRank" not in (tmp_path / "adapter_config.json").read_text()
    opened = PeftModel.from_pretrained(small_model("llama"), tmp_path).eval()
    assert not any(isinstance(m, LowRankLinear) for m in opened.modules())
    with torch.no_grad():
        torch.testing.assert_close(opened(IDS).logits, model(IDS).logits, rtol=1e-4, atol=1e-4)
