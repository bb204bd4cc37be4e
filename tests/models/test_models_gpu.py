"""Decoding and half precision on a CUDA device: run with `pytest -m gpu`."""

from typing import Any

import pytest
import torch
from decoding_helpers import PROMPTS, assert_same, run

import models.graph_reader
from models.adapter import TuneConfig, add_lora
from models.decoding import Decoding, why_not_recorded
from models.frozen_head import frozen_logprobs
from models.generation import Generation
from models.graph_reader import GraphReader, StaticSteps
from models.low_rank import Weights, _LowRank
from models.policy import Policy, build_policy
from models.precision import DeviceConfig, Precision, resolve_precision
from tests.architectures import WORKING, small_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]

SOME_STOP = range(0, 264, 5)
# The least that must be recorded; for others it is enough that they say why not.
RECORDED = {"llama", "qwen2", "qwen3", "gpt2", "gpt-neox", "phi", "gemma", "smollm3", "granite"}
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def card(dtype: torch.dtype = torch.float32, decode: Any = "auto") -> Precision:
    return Precision(torch.device("cuda"), dtype, decode)


def need(name: str) -> torch.dtype:
    if name == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bfloat16")
    return HALF[name]


@pytest.fixture
def small_pieces(monkeypatch):
    """So few places at a time that short texts go through several graphs."""
    monkeypatch.setattr(models.graph_reader, "PLACES", 8)


@pytest.mark.parametrize("name", sorted(WORKING))
def test_recorded_steps_are_the_plain_readers(name, small_pieces):
    """Tokens, numbers and states in float32; with padding, repeats, rows that end, and graphs used again."""
    network = small_model(name).cuda().eval()
    if reason := why_not_recorded(network, card(), record=True):
        assert name not in RECORDED, reason
        return
    steps = StaticSteps(network, 8, 70, record=True)
    for prompts, stops in ((PROMPTS, ()), ([[7, 8, 9, 10], [11]] * 4, SOME_STOP), (PROMPTS, SOME_STOP)):
        reader = GraphReader(network, 9, steps)
        found = run(network, prompts, reader=reader, stop_ids=stops, keep_states=True)
        expected = run(network, prompts, stop_ids=stops, keep_states=True)
        assert_same(found, expected, close=1e-3)
        torch.testing.assert_close(found.states, expected.states, rtol=1e-3, atol=1e-3)
    assert len(steps.recorded) >= 3


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt-neox"])
def test_the_same_seed_gives_the_same_tokens_on_gpu_and_cpu(name):
    """In float32: uniforms are drawn on the CPU, before the first token."""
    network = small_model(name).eval()
    expected = run(network, stop_ids=SOME_STOP)
    network = network.cuda()
    reader = GraphReader(network, 9, StaticSteps(network, 5, 70, record=True))
    found = run(network, reader=reader, stop_ids=SOME_STOP)
    assert torch.equal(found.response_ids.cpu(), expected.response_ids)
    torch.testing.assert_close(found.logprobs.cpu(), expected.logprobs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("adapters", [False, True])
def test_half_precision(dtype, adapters):
    """States of the same tokens agree as far as the format goes; adapters that are not folded in as well."""
    network = small_model("llama", sharpness=1.5).to(need(dtype))
    if adapters:
        model = add_lora(network, TuneConfig(), seed=1).cuda()
        for n, p in model.named_parameters():
            if "lora_B" in n:
                p.data.normal_(0, 0.2)
        network = model.get_base_model()
    assert why_not_recorded(network.cuda(), card(HALF[dtype]), record=True) == ""


def sample(policy: Policy, prompts: list[list[int]], seed: int = 0) -> Generation:
    width = max(map(len, prompts))
    return policy.generate(
        torch.tensor([[0] * (width - len(p)) + p for p in prompts]),
        torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts]),
        max_new_tokens=12,
        temperature=0.7,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_graphs_follow_the_weights(sft_dir, tune):
    """Over updates, by graphs that were recorded before them."""
    recorded, eager = (
        build_policy(sft_dir, TuneConfig(tune=tune), card(decode=how), seed=1) for how in ("graph", "eager")
    )
    for seed in range(4):
        found, expected = sample(recorded, PROMPTS, seed), sample(eager, PROMPTS, seed)
        assert_same(found, expected, close=1e-3)
        assert recorded.decoding.nbytes and not eager.decoding.nbytes
        for policy in (recorded, eager):
            for i, p in enumerate(policy.trainable().values()):
                noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * seed + i))
                p.data += 0.05 * noise.cuda()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("tune", ["lora", "full"])
def test_policies_in_half_precision_decode_recorded(sft_dir, tune, dtype):
    """Weights that autocast casts are cast anew for every rollout: their graphs do not outlast it."""
    policy = build_policy(sft_dir, TuneConfig(tune=tune), card(need(dtype), "graph"), seed=1)
    before = sample(policy, PROMPTS)
    assert bool(policy.decoding.nbytes) == (tune == "lora")
    for p in policy.trainable().values():
        p.data += 0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)).cuda()
    after = sample(policy, PROMPTS)
    assert not torch.equal(before.logprobs[:, 0], after.logprobs[:, 0])
    policy.decoding = Decoding(policy.network, card(HALF[dtype], "eager"), lasting=True)
    expected = sample(policy, PROMPTS)
    torch.testing.assert_close(after.logprobs[:, 0], expected.logprobs[:, 0], rtol=0.05, atol=0.1)


def test_memory_is_given_back_for_the_update(sft_dir):
    policy = build_policy(sft_dir, TuneConfig(), card(decode="graph"), seed=1)
    left = []
    for _ in range(4):
        made = sample(policy, PROMPTS * 40)
        held = torch.cuda.memory_allocated()
        kept = policy.decoding.nbytes
        assert kept > 2**20
        del made
        policy.decoding.release()
        left.append(torch.cuda.memory_allocated())
        assert held - left[-1] >= kept
    # After the first round the libraries' workspaces stay, the same ones every time.
    assert max(left[1:]) <= left[0]


class Watched(GraphReader):
    """Any wait for the device is an error between two looks."""

    look_every = 64
    steps_left = 0

    def start(self, prompt_ids: torch.Tensor, prompt_mask: torch.Tensor) -> torch.Tensor:
        states = super().start(prompt_ids, prompt_mask)
        torch.cuda.set_sync_debug_mode("error")
        self.steps_left = 8
        return states

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.steps_left -= 1
        if not self.steps_left:  # the last token is looked at
            torch.cuda.set_sync_debug_mode("default")
        return super().step(tokens)


@pytest.mark.parametrize("adapters", [False, True])
def test_nothing_waits_between_two_looks(adapters):
    network = small_model("llama")
    if adapters:
        network = add_lora(network, TuneConfig(), seed=1).get_base_model()
    network = network.cuda().eval()
    steps = StaticSteps(network, 5, 70, record=True)
    expected = run(network, reader=GraphReader(network, 9, steps))
    try:
        found = run(network, reader=Watched(network, 9, steps))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_same(found, expected, close=1e-3)


def test_a_long_text_goes_through_several_graphs(make_model):
    """Few of them, in one memory, and the same tokens as kernel by kernel."""
    network = make_model().cuda().eval()
    prompts = [[5 + i] * (200 + i) for i in range(6)]
    steps = StaticSteps(network, 6, 800, record=True)
    found = run(network, prompts, reader=GraphReader(network, 590, steps), tokens=590)
    assert_same(found, run(network, prompts, tokens=590), close=1e-3)
    assert steps.recorded == [(6, 256), (6, 512), (6, 768), (6, 1024)]


@pytest.mark.parametrize("dtype", HALF)
def test_a_frozen_head_in_half_precision(dtype):
    """Values and gradients against float64, within the format; sums over the vocabulary are in float32."""
    half = need(dtype)
    unit = torch.finfo(half).eps
    generator = torch.Generator().manual_seed(0)
    weight = (0.05 * torch.randn(5000, 64, generator=generator)).to(half)
    hidden = torch.randn(300, 64, generator=generator).to(half)
    targets = torch.randint(5000, (300,), generator=generator)
    head = torch.nn.Linear(64, 5000, bias=False, device="cuda", dtype=half).requires_grad_(False)
    head.weight.copy_(weight)
    ours = hidden.cuda().requires_grad_()
    with torch.autocast("cuda", dtype=half):
        logprobs, entropy = frozen_logprobs(ours, head, targets.cuda(), 0.7)
    logprobs.sum().backward()
    exact = hidden.double().requires_grad_()
    everything = torch.log_softmax(exact @ weight.double().T / 0.7, dim=-1)
    expected = everything.gather(-1, targets[:, None])[:, 0]
    expected.sum().backward()
    torch.testing.assert_close(logprobs.cpu().double(), expected, rtol=unit, atol=4 * unit)
    spread = -(everything.exp() * everything).sum(-1)
    torch.testing.assert_close(entropy.cpu().double(), spread, rtol=unit, atol=4 * unit)
    apart = (ours.grad.cpu().double() - exact.grad).norm() / exact.grad.norm()
    assert apart < 2 * unit


def test_what_float16_cannot_hold_reaches_the_loss_scaler():
    """No gradient is held back at the largest number: the scaler has to see inf."""
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=False, device="cuda", dtype=torch.float16).requires_grad_(False)
    hidden = torch.randn(8, 16, device="cuda", dtype=torch.float16, requires_grad=True)
    logprobs, _ = frozen_logprobs(hidden, head, torch.zeros(8, dtype=torch.long, device="cuda"), 1.0)
    (1e9 * logprobs.sum()).backward()
    assert hidden.grad.isinf().any()
    a, b = (torch.randn(s, device="cuda", requires_grad=True) for s in ((4, 16), (50, 4)))
    x = torch.randn(8, 16, device="cuda", dtype=torch.float16)
    y = _LowRank.apply(x, Weights(head.weight, None, a, b, 2.0), a, b)
    y.backward(torch.full_like(y, 6e4))
    assert not a.grad.isfinite().all() and not b.grad.isfinite().all()


@pytest.mark.parametrize("dtype", HALF)
def test_layer_and_adapter_in_half_precision(dtype):
    """Against float64, within the format: products of thousands of terms are summed in float32."""
    half = need(dtype)
    unit = torch.finfo(half).eps
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (3000, 256), "w": (128, 256), "a": (8, 256), "b": (128, 8), "g": (3000, 128)}
    made = {k: (0.1 * torch.randn(s, generator=generator)).to(half) for k, s in shapes.items()}
    x = made["x"].cuda().requires_grad_()
    a, b = (made[k].float().cuda().requires_grad_() for k in "ab")
    y = _LowRank.apply(x, Weights(made["w"].cuda(), None, a, b, 2.0), a, b)
    y.backward(made["g"].cuda())
    exact = {k: v.double().requires_grad_() for k, v in made.items()}
    expected = exact["x"] @ exact["w"].T + 2.0 * exact["x"] @ exact["a"].T @ exact["b"].T
    expected.backward(exact["g"].detach())
    for found, theirs in (
        (y, expected),
        *((p.grad, exact[k].grad) for k, p in (("x", x), ("a", a), ("b", b))),
    ):
        assert (found.detach().cpu().double() - theirs.detach()).norm() / theirs.detach().norm() < 4 * unit


def test_the_setting(sft_dir, caplog):
    assert resolve_precision(DeviceConfig(device="cuda", decode="graph")).decode == "graph"
    auto = build_policy(sft_dir, TuneConfig(), card(), seed=1)
    assert auto.decoding.plain_because == "" and auto.plain_ways() == ""
    sample(auto, PROMPTS)
    assert auto.decoding.nbytes
