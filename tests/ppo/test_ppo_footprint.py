"""What is planned from a configuration is what a real run allocates, by torch's own count."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers as t
from architectures import WORKING, linear_layers, small_model
from ppo_helpers import buffer_of
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM

from data import Problem, TestCase
from models import causal_attention
from models.adapter import TuneConfig, add_lora, checkpoint_layers, disable_dropout
from models.causal_attention import CAUSAL_PARTS
from models.critic import CriticConfig
from models.errors import ModelError
from models.footprint import Shape, layout_bytes, sft_parts
from models.head import find_head
from models.policy import Policy, build_policy
from models.precision import Precision
from models.sft import save_model
from models.sft_config import SFTConfig
from models.sft_data import Demonstration
from models.sft_loss import completion_loss
from ppo.config import PPOConfig
from ppo.footprint import Sampling, evaluation_parts, ppo_parts
from ppo.optimizer import build_optimizer
from ppo.prompts import EncodedPrompt
from ppo.rollout import Responses, forward_responses, sample_responses
from ppo.update import minibatch_loss, update

_ENDS = {"vocab_size": 1000, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
_LLAMA = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 4, "num_attention_heads": 4}
CONFIGS = {
    "llama": t.LlamaConfig(**_LLAMA, num_key_value_heads=2, max_position_embeddings=512, **_ENDS),
    "gpt2": t.GPT2Config(n_embd=64, n_layer=4, n_head=4, n_positions=512, **_ENDS),
    "gpt-neox": t.GPTNeoXConfig(**_LLAMA, max_position_embeddings=512, **_ENDS),
    "mixtral": t.MixtralConfig(**_LLAMA, num_key_value_heads=2, num_local_experts=4, **_ENDS),
}
TARGETS = {
    "llama": ("q_proj", "v_proj", "down_proj"),
    "gpt2": ("c_attn", "c_fc"),
    "gpt-neox": ("query_key_value", "dense_h_to_4h"),
    "mixtral": ("q_proj", "v_proj"),
}


class Case(NamedTuple):
    """A model and the way it is trained."""

    architecture: str
    tune: Any
    checkpointing: bool
    dtype: torch.dtype = torch.float32

    @property
    def shape(self) -> Shape:
        tune = TuneConfig(tune=self.tune, lora_targets=TARGETS[self.architecture])
        return Shape(CONFIGS[self.architecture], tune, Precision(torch.device("cpu"), self.dtype))

    @property
    def settings(self) -> PPOConfig:
        return PPOConfig(
            prompts_per_iteration=16,
            minibatch_size=16,
            micro_batch_size=8,
            rollout_batch=16,
            max_prompt_tokens=32,
            max_new_tokens=24,
            epochs=1,
            learning_rate=1e-4,
            gradient_checkpointing=self.checkpointing,
        )


LLAMA = Case("llama", "lora", True)
QUICK = [Case("gpt2", "full", False)]
OTHERS = [
    *(LLAMA, Case("llama", "lora", False), Case("llama", "full", False), Case("llama", "full", True)),
    *(Case("gpt2", "lora", False), Case("gpt2", "lora", True), Case("gpt2", "full", True)),
    *(Case("gpt-neox", "lora", False), Case("gpt-neox", "full", True)),
    Case("mixtral", "lora", False),
    Case("llama", "lora", True, torch.bfloat16),
]
cases = pytest.mark.parametrize(
    "case",
    [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in OTHERS)],
    ids=lambda case: "-".join(str(each).removeprefix("torch.") for each in case),
)


class Allocated(NamedTuple):
    """Bytes that torch's allocator handed out while something ran."""

    peak: int
    kept: int
    """Alive at the end, the result included"""
    result: Any


def allocated(run: Callable[[], Any]) -> Allocated:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return Allocated(peak, live, result)


def real_policy(case: Case, folder: Path, tokenizer: Any) -> Policy:
    """Saved and loaded; none of its responses ends early."""
    torch.manual_seed(0)
    save_model(folder, AutoModelForCausalLM.from_config(case.shape.config, dtype=torch.float32), tokenizer)
    policy = build_policy(
        folder, case.shape.tune, case.shape.precision, 1, gradient_checkpointing=case.checkpointing
    )
    policy.stop_ids = []
    return policy


def workspace(case: Case, tokens: int) -> int:
    """What torch's own product of so many tokens takes beside its result: nothing in float32, and in bfloat16
    room for oneDNN, on which nobody plans."""
    config = case.shape.config
    x = torch.zeros(tokens, config.hidden_size, dtype=case.dtype)
    weight = torch.zeros(config.hidden_size, 4 * config.hidden_size, dtype=case.dtype)
    taken = allocated(lambda: x @ weight)
    return taken.peak - taken.kept


def sizes(tensors: Any) -> int:
    return sum(each.nbytes for each in {id(each): each for each in tensors}.values())


def tensors(module: Any) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def test_weights_laid_out_for_decoding_are_planned_where_there_are_any(monkeypatch):
    """In float32 on the CPU as much again as the linear layers, output layer included; else nothing."""
    for architecture, precision in (("llama", torch.float32), ("gpt-neox", torch.bfloat16)):
        case = Case(architecture, "lora", False, precision)
        network = case.shape.network(precision)
        linear = sum(m.weight.nbytes for m in network.modules() if isinstance(m, torch.nn.Linear))
        found = layout_bytes(case.shape.adapted(), case.shape.precision)
        assert found == (linear if precision == torch.float32 else 0)
    monkeypatch.setattr("models.footprint.has_layouts", lambda: False)
    assert layout_bytes(network, Precision(torch.device("cpu"), torch.float32)) == 0


@cases
def test_the_phases_of_ppo_take_what_was_planned(case, tmp_path, tokenizer, monkeypatch):
    """Each part that lies still, to the byte; activations and the whole of each phase within 10 %, but for
    the workspace of a product.

    Without the layouts of decoding: of them torch's allocator counts the room that MKL leaves unwritten.
    """
    for place in ("models.footprint", "models.quick_layers"):
        monkeypatch.setattr(f"{place}.has_layouts", lambda: False)
    config = case.settings
    policy = real_policy(case, tmp_path / "model", tokenizer)
    optimizer, scaler = build_optimizer(policy, config), policy.precision.grad_scaler()
    problem = Problem("p", "x", (TestCase("", ""),))
    length = config.max_prompt_tokens
    prompts = [EncodedPrompt(problem, tuple(range(2 + i, 2 + i + length)), False, "x") for i in range(16)]

    def sample() -> Responses:
        return sample_responses(
            policy,
            prompts,
            max_new_tokens=config.max_new_tokens,
            temperature=0.7,
            batch_size=config.rollout_batch,
            generator=torch.Generator().manual_seed(0),
            keep_states=case.shape.precision.exact,
        )

    def train(buffer: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        return update(policy, optimizer, scaler, buffer, config, kl_coef=0.0, generator=generator)

    train(buffer_of(policy, sample(), [24] * 16))  # from now on there are gradients and moments
    plan = ppo_parts(case.shape, CriticConfig(), config)

    network = [p for p in policy.trainable().values()]
    reference = policy._reference[0] if policy._reference else None
    head = list(policy.value_head.parameters())
    gradients = sizes(p.grad for p in network)
    moments = sum(sizes(v for k, v in optimizer.state[p].items() if k != "step") for p in network)
    expected = plan["update"]
    assert expected["gradients"] == gradients and expected["moments of AdamW"] == moments
    assert expected["critic, its gradients and moments"] == 4 * sizes(head)
    weights = sizes(tensors(policy.network)) - (sizes(network) if case.tune == "lora" else 0)
    assert expected["weights"] == weights
    assert expected.get("adapters", 0) == (sizes(network) if case.tune == "lora" else 0)
    assert expected.get("reference", 0) == (sizes(tensors(reference)) if reference else 0)

    tokens = config.micro_batch * (length + config.max_new_tokens)
    beside = workspace(case, tokens)
    assert beside == 0 or case.dtype != torch.float32

    def is_near(planned: int, taken: int) -> bool:
        return planned == pytest.approx(taken, rel=0.1) or planned == pytest.approx(taken - beside, rel=0.1)

    resting = sizes(tensors(policy)) + (sizes(tensors(reference)) if reference else 0)
    resting += gradients + moments + 3 * sizes(head)
    rollout = allocated(sample)
    assert is_near(sum(plan["rollout"].values()), resting + rollout.peak)
    decoded = (rollout.result.decoded or ())[1:]  # the first says which rows
    held = sizes([*rollout.result.tokens, rollout.result.logprobs, *decoded])
    scoring = allocated(lambda: forward_responses(policy, rollout.result, 0.7, config.micro_batch))
    assert is_near(sum(plan["scoring"].values()), resting + held + scoring.peak)
    buffer = buffer_of(policy, rollout.result, [24] * 16)
    training = allocated(lambda: train(buffer))
    held += sizes(x for x in vars(buffer).values() if isinstance(x, torch.Tensor))
    assert is_near(sum(expected.values()), resting + held + training.peak)

    batch = next(buffer.micro_batches(config.micro_batch))
    policy.train()
    loss = allocated(lambda: minibatch_loss(policy, batch, config, 0.1, denominator=torch.tensor(1)))
    planned = next(size for name, size in expected.items() if name.startswith("activations"))
    assert planned == pytest.approx(loss.kept, rel=0.1)


@pytest.mark.parametrize("case", [QUICK[0], pytest.param(LLAMA, marks=pytest.mark.slow)])
def test_a_step_of_sft_takes_what_was_planned(case):
    """Demonstrations of full length."""
    config = SFTConfig(
        batch_size=8, micro_batch_size=4, max_tokens=72, gradient_checkpointing=case.checkpointing
    )
    network = AutoModelForCausalLM.from_config(case.shape.config, dtype=torch.float32)
    disable_dropout(network)
    head = find_head(network)
    if case.checkpointing:
        checkpoint_layers(network)
    if case.tune == "lora":
        network = add_lora(network, case.shape.tune, 0)
    network.train()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    batch = [Demonstration((0,), (2,) * 70)] * 4

    def step() -> None:
        completion_loss(network, head, batch, 1, torch.device("cpu")).backward()
        optimizer.step()

    step()
    taken = sizes(tensors(network)) + 3 * sizes(trained) + allocated(step).peak
    plan = sft_parts(case.shape, config)
    assert sum(plan.values()) == pytest.approx(taken, rel=0.1)
    assert plan["gradients"] == sizes(trained) and plan["moments of AdamW"] == 2 * sizes(trained)


HEADS = {"hidden_size": 128, "intermediate_size": 176, "num_hidden_layers": 4, "num_attention_heads": 2}


def planned(rows: int, device: str = "cpu") -> list[int]:
    """What training takes of a Llama that attends by parts on a CPU, on rows of so many tokens: PPO, SFT."""
    tune = TuneConfig(lora_targets=TARGETS["llama"])
    shape = Shape(t.LlamaConfig(**HEADS, **_ENDS), tune, Precision(torch.device(device), torch.float32))
    config = PPOConfig(max_prompt_tokens=rows + 1 - 8, max_new_tokens=8)
    update = ppo_parts(shape, CriticConfig(), config)["update"]
    return [sum(parts.values()) for parts in (update, sft_parts(shape, SFTConfig(max_tokens=rows)))]


def test_longer_rows_are_never_planned_for_less():
    """The longest of which attention keeps probabilities, and longer ones, of which it keeps none."""
    longest = causal_attention._LONGEST
    most, beyond, far = planned(longest), planned(longest + 1), planned(2 * longest)
    with CAUSAL_PARTS.off():
        plain = planned(longest + 1)
    for of_most, of_beyond, of_far, of_plain in zip(most, beyond, far, plain, strict=True):
        assert of_plain < of_most <= of_beyond < of_far


def test_a_plan_for_a_gpu_keeps_no_probabilities():
    length = causal_attention._ROWS[-1]
    plan = planned(length, "cuda")
    with CAUSAL_PARTS.off():
        assert planned(length, "cuda") == plan
    assert all(on_cpu > on_gpu for on_cpu, on_gpu in zip(planned(length), plan, strict=True))


def test_the_kv_cache_is_that_of_the_formula():
    """Keys and values of every layer, head and token; and nothing of it where nothing is trained is kept."""
    sampling = Sampling(rows=3, prompt_tokens=10, new_tokens=200)
    plan = evaluation_parts(LLAMA.shape, CriticConfig(), sampling)
    layers, heads, size = 4, 2, 16
    assert plan["KV cache"] == 2 * layers * heads * size * 4 * 3 * 210
    assert not {"gradients", "moments of AdamW"} & plan.keys()


@pytest.mark.slow
def test_what_a_longer_response_takes_does_not_depend_on_the_vocabulary():
    """No phase holds the logits of all tokens: they are made and dropped some tokens at a time."""

    def taken(vocabulary: int, tokens: int) -> dict[str, int]:
        ends = _ENDS | {"vocab_size": vocabulary}
        model = t.LlamaConfig(**_LLAMA, max_position_embeddings=2048, **ends)
        shape = Shape(model, TuneConfig(), Precision(torch.device("cpu"), torch.float32))
        rows = {"prompts_per_iteration": 4, "minibatch_size": 4, "micro_batch_size": 4}
        config = PPOConfig(**rows, max_prompt_tokens=32, max_new_tokens=tokens)
        plan = ppo_parts(shape, CriticConfig(), config)
        return {phase: sum(parts.values()) for phase, parts in plan.items()}

    more = []
    for vocabulary in (32_000, 128_000):
        short, long = taken(vocabulary, 512), taken(vocabulary, 1024)
        more.append({phase: long[phase] - short[phase] for phase in short})
    assert all(size > 0 for size in more[0].values())
    assert more[1] == pytest.approx(more[0], rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKING)
def test_every_architecture_can_be_planned(name):
    """Its code runs on shapes alone; longer texts take more."""
    model = small_model(name)
    tune = TuneConfig(lora_targets=linear_layers(model))
    shape = Shape(model.config, tune, Precision(torch.device("cpu"), torch.float32))
    for short, long in (
        [sft_parts(shape, SFTConfig(max_tokens=tokens, batch_size=2)) for tokens in (32, 64)],
        [
            ppo_parts(shape, CriticConfig(), PPOConfig(max_prompt_tokens=64, max_new_tokens=n))["update"]
            for n in (16, 64)
        ],
    ):
        assert 0 < sum(short.values()) < sum(long.values())


def test_what_cannot_be_planned_is_one_line():
    """A configuration of no causal language model, and one whose adapters have no place."""
    shape = LLAMA.shape
    with pytest.raises(ModelError, match="T5Config: no causal language model"):
        sft_parts(Shape(t.T5Config(), shape.tune, shape.precision), SFTConfig())
    with pytest.raises(ModelError, match="no layer named c_attn; its linear layers are down_proj, "):
        sft_parts(Shape(shape.config, TuneConfig(lora_targets=("c_attn",)), shape.precision), SFTConfig())
