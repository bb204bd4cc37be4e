"""The actor-critic: what it scores, what it trains, and what its reference is."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from models.adapter import TuneConfig, add_lora, merged
from models.batch import TokenBatch, trim
from models.errors import ModelError
from models.policy import Policy, build_policy, frozen_policy
from models.precision import Precision
from models.sft import save_model
from models.storage import load_model
from models.tiny import build_tokenizer
from tests.architectures import small_model

TUNES = ["lora", "full"]
PROMPTS = [[9, 40, 77], [5], [30, 31, 32, 33, 34, 35], [100, 200, 17, 3]]
RESPONSES = [[50, 51, 1], [60, 61, 62, 63, 64], [70], [80, 81, 82, 1]]


def batch(left: int = 0, right: int = 0, junk: int = 0) -> TokenBatch:
    """The rows above, with so many more columns of padding, `junk` in them."""
    p, t = max(map(len, PROMPTS)) + left, max(map(len, RESPONSES)) + right
    return TokenBatch(
        torch.tensor([[junk] * (p - len(x)) + x for x in PROMPTS]),
        torch.tensor([[False] * (p - len(x)) + [True] * len(x) for x in PROMPTS]),
        torch.tensor([x + [junk] * (t - len(x)) for x in RESPONSES]),
        torch.tensor([[True] * len(x) + [False] * (t - len(x)) for x in RESPONSES]),
    )


def reference_logprobs(policy: Policy, temperature: float) -> list[Tensor]:
    """The SFT model loaded anew, each row alone, no padding, full logits."""
    assert policy.sft is not None
    model = load_model(policy.sft.path, torch.float32)
    found = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        found.append(
            torch.log_softmax(logits / temperature, -1).gather(1, torch.tensor(response)[:, None])[:, 0]
        )
    return found


def close(found: Tensor, expected: list[Tensor], mask: Tensor) -> None:
    for row, kept, numbers in zip(found, mask, expected, strict=True):
        torch.testing.assert_close(row[kept], numbers, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tune", TUNES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_fresh_policy_is_the_sft_model(make_policy, tune, temperature):
    """Checks 2, 4, 14, trap A11: before updates policy and reference are the SFT model; KL <= 1e-5."""
    policy, b = make_policy(tune), batch()
    stats, ref = policy(b, temperature), policy.ref_logprobs(b, temperature)
    close(stats.logprobs.detach(), reference_logprobs(policy, temperature), b.response_mask)
    close(ref, reference_logprobs(policy, temperature), b.response_mask)
    assert (stats.logprobs - ref).abs().max() <= 1e-5
    for x in (stats.logprobs, stats.values, stats.entropy, ref):
        assert x.dtype == torch.float32 and (x[~b.response_mask] == 0).all()


def test_without_the_temperature_the_numbers_are_others(make_policy):
    """Check 2: both passes divide by T; undivided log-probabilities fail by far."""
    policy, b = make_policy(), batch()
    wrong = torch.cat(reference_logprobs(policy, 1.0))
    assert (policy(b, 0.7).logprobs[b.response_mask] - wrong).abs().max() > 0.1
    assert (policy.ref_logprobs(b, 0.7)[b.response_mask] - wrong).abs().max() > 0.1


@pytest.mark.parametrize("left", [0, 7, 50])
def test_padding_changes_nothing(make_policy, left):
    """Check 3: columns of padding with junk ids in them: log-probabilities, values, reference within 1e-5."""
    policy = make_policy(trained=True)
    plain, padded = batch(), batch(left=left, right=3, junk=42)
    with torch.no_grad():
        expected = [*policy(plain, 0.7), policy.ref_logprobs(plain, 0.7)]
        found = [*policy(padded, 0.7), policy.ref_logprobs(padded, 0.7)]
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b[:, :5], rtol=0, atol=1e-5)
    assert expected[1].abs().max() > 0.01  # values that could have changed


def test_padding_changes_nothing_where_positions_are_absolute(tokenizer, cpu):
    """Check 3: Llama's rotary positions are relative and forgive a shift; GPT-2 learns every position.

    Decoding and forward pass agree on every token there too, which needs the same positions in both.
    """
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=262, n_embd=32, n_layer=1, n_head=2)
    gpt2 = [GPT2LMHeadModel(shape) for _ in range(2)]
    for p in gpt2[0].parameters():
        p.data *= 5
    policy = Policy(gpt2[0], tokenizer, cpu, reference=gpt2[1], tune=TuneConfig(tune="full"))
    responses = []
    for left in (0, 7, 50):
        padded = batch(left=left, right=3, junk=42)
        with torch.no_grad():
            found, plain = policy(padded, 0.7), policy(batch(), 0.7)
        for a, b in zip(plain, found, strict=True):
            torch.testing.assert_close(a, b[:, :5], rtol=0, atol=1e-5)
        draws = torch.Generator().manual_seed(2)
        made = policy.generate(*padded[:2], max_new_tokens=9, temperature=0.7, generator=draws)
        again = policy(TokenBatch(*padded[:2], made.response_ids, made.response_mask), 0.7)
        torch.testing.assert_close(again.logprobs, made.logprobs, rtol=0, atol=1e-5)
        responses.append(made.response_ids.tolist())
    assert responses[0] == responses[1] == responses[2]


def test_a_row_alone_equals_the_row_in_a_batch(make_policy):
    """Check 4: within 1e-5."""
    policy, b = make_policy(trained=True), batch()
    with torch.no_grad():
        together = policy(b, 0.7)
        for row in range(4):
            alone = policy(TokenBatch(*(x[[row]] for x in b)), 0.7)
            for x, y in zip(alone, together, strict=True):
                torch.testing.assert_close(x[0], y[row], rtol=0, atol=1e-5)


def test_entropy_is_that_of_the_sampling_distribution(make_policy):
    """−Σ p·log p of softmax(logits / T) at each response token, from full logits."""
    policy = make_policy()
    with torch.no_grad():
        logits = policy.network(torch.tensor([PROMPTS[0] + RESPONSES[0]])).logits[0, 2:-1] / 0.7
        p = torch.softmax(logits.double(), -1)
        found = policy(batch(), 0.7).entropy[0, :3].double()
    torch.testing.assert_close(found, -(p * p.log()).sum(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tune", TUNES)
def test_updates_leave_the_reference_as_it_was(make_policy, tune):
    """Check 14: after training steps the reference's log-probabilities are the same bits."""
    policy, b = make_policy(tune), batch()
    before, own = policy.ref_logprobs(b, 0.7), policy(b, 0.7).logprobs.detach()
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        stats = policy(b, 0.7)
        (stats.logprobs.sum() + (stats.values - 1).square().sum()).backward()
        optimizer.step()
    assert torch.equal(policy.ref_logprobs(b, 0.7), before)
    assert (policy(b, 0.7).logprobs - own).abs().max() > 1e-3


@pytest.mark.parametrize("tune", TUNES)
def test_looking_at_the_reference_disturbs_neither_critic_nor_policy(make_policy, tune):
    """Check 15: values and log-probabilities are the same bits after a reference pass and a rollout."""
    policy, b = make_policy(tune, trained=True), batch()
    with torch.no_grad():
        before = policy(b, 0.7)
        policy.ref_logprobs(b, 0.7)
        policy.generate(*b[:2], max_new_tokens=3, temperature=0.7, generator=torch.Generator().manual_seed(0))
        after = policy(b, 0.7)
    for x, y in zip(before, after, strict=True):
        assert torch.equal(x, y)
    assert {name for name, p in policy.adapted.named_parameters() if p.requires_grad} == set(
        policy.trainable()
    )


@pytest.mark.parametrize("tune", TUNES)
def test_values_start_at_zero(make_policy, tune):
    """Check 15: the first opinion of the critic is its bias, 0, everywhere."""
    assert (make_policy(tune)(batch(), 0.7).values == 0).all()


def test_lora_trains_adapters_and_value_head_alone(make_policy):
    """Everything that requires a gradient is an adapter of a named layer, or the value head; all float32."""
    policy = make_policy()
    assert all(".lora_" in name for name in policy.trainable()) and len(policy.trainable()) == 8
    trained = {id(p) for p in policy.parameters() if p.requires_grad}
    head = {id(p) for p in policy.value_head.parameters()}
    assert trained == head | {id(p) for p in policy.trainable().values()}
    assert all(p.dtype == torch.float32 for p in policy.parameters() if p.requires_grad)


def test_full_tuning_trains_everything_but_the_reference(make_policy):
    """With a frozen copy that is no part of the policy's parameters and shares no memory with it."""
    policy = make_policy("full")
    assert len(policy.trainable()) == len(dict(policy.network.named_parameters()))
    (reference,) = policy._reference
    assert not any(p.requires_grad for p in reference.parameters())
    ours = {p.data_ptr() for p in policy.parameters()}
    assert ours.isdisjoint(p.data_ptr() for p in reference.parameters())


@pytest.mark.parametrize("tune", TUNES)
def test_gradients_reach_every_trained_parameter(make_policy, tune):
    """A loss on log-probabilities, values and entropy moves all of them (LoRA's A only once B is not 0)."""
    policy = make_policy(tune, trained=True)
    stats = policy(batch(), 0.7, entropy_grad=True)
    (stats.logprobs.sum() + stats.values.sum() + stats.entropy.sum()).backward()
    for name, p in policy.named_parameters():
        assert (p.grad is not None and p.grad.abs().max() > 0) == p.requires_grad, name


@pytest.mark.parametrize("tune", TUNES)
def test_gradient_checkpointing_changes_no_gradient(sft_dir, cpu, tune):
    """Check 26: recomputed activations of a frozen base with adapters give the same gradients (1e-6)."""

    def gradients(checkpointing: bool) -> list[Tensor]:
        policy = recomputing(sft_dir, cpu, tune, checkpointing)
        policy(batch(), 0.7).logprobs.sum().backward()
        return [p.grad for p in policy.trainable().values()]

    for a, b in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def recomputing(sft_dir: Path, cpu: Precision, tune: str, checkpointing: bool) -> Policy:
    """In training mode, with adapters that already do something."""
    policy = build_policy(sft_dir, TuneConfig(tune=tune), cpu, seed=3, gradient_checkpointing=checkpointing)
    for p in policy.trainable().values():
        p.data += 0.01
    return policy.train()


@pytest.mark.parametrize("tune", TUNES)
def test_gradient_checkpointing_recomputes(sft_dir, cpu, tune):
    """Check 26: on, each block runs again in the backward pass, and the forward pass keeps far less."""
    kept = {}
    for checkpointing in (False, True):
        policy = recomputing(sft_dir, cpu, tune, checkpointing)
        runs, saved = [], []
        policy.network.model.layers[0].self_attn.register_forward_hook(
            lambda *args, runs=runs: runs.append(1)
        )

        def pack(tensor: Tensor, saved: list = saved) -> Tensor:
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = policy(batch(), 0.7).logprobs.sum()
        assert len(runs) == 1
        loss.backward()
        assert len(runs) == (2 if checkpointing else 1)
        kept[checkpointing] = sum(saved)
    assert kept[True] < 0.6 * kept[False]


def test_adapters_beside_the_weights_say_the_same_as_folded_in(make_policy):
    policy, b = make_policy(trained=True), batch()
    made = []
    for policy.folds in (True, False):
        draws = torch.Generator().manual_seed(0)
        made.append(policy.generate(*b[:2], max_new_tokens=9, temperature=0.7, generator=draws))
    assert torch.equal(made[0].response_ids, made[1].response_ids)
    torch.testing.assert_close(made[0].logprobs, made[1].logprobs, rtol=0, atol=1e-4)


def test_decoding_has_its_cache_under_gradient_checkpointing(sft_dir, cpu):
    """After the prompt one token at a time; checkpointing in training mode would switch the cache off."""
    policy, read = recomputing(sft_dir, cpu, "lora", True), []
    policy.network.model.embed_tokens.register_forward_hook(lambda *args: read.append(args[1][0].numel()))
    draws, (prompts, mask) = torch.Generator().manual_seed(2), batch()[:2]
    policy.generate(prompts, mask, max_new_tokens=5, temperature=0.7, generator=draws)
    assert read == [len(prompts) * tokens for tokens in (6, 1, 1, 1, 1)] and policy.training


def test_dropout_is_off_in_training_mode_too(make_model, tokenizer, cpu, tmp_path):
    """Check 16: a model whose configuration asks for dropout gives the same bits twice."""
    model = make_model()
    model.config.attention_dropout = 0.5
    save_model(tmp_path / "model", model, tokenizer)
    policy = build_policy(tmp_path, TuneConfig(), cpu, seed=3, gradient_checkpointing=True).train()
    first, second = policy(batch(), 0.7), policy(batch(), 0.7)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_tokenizer_with_more_ids_than_the_model_has_embeddings(sft_dir, make_model, tmp_path, cpu):
    """It was made for another model; fewer ids than embeddings are usual."""
    other = build_tokenizer(["print(input())\n" * 5, "for i in range(n):\n" * 5], 290)
    save_model(tmp_path / "model", make_model(), other)
    for build in (frozen_policy, lambda path, cpu: build_policy(path, TuneConfig(), cpu, seed=1)):
        with pytest.raises(ModelError, match=r"ids up to \d+, the model embeddings for 262: .*not belong"):
            build(tmp_path, cpu)


@pytest.mark.parametrize("left", [0, 9])
def test_trimming_leaves_what_is_real(left):
    """Columns of padding go, tokens and masks stay together."""
    trimmed = trim(batch(left=left, right=3, junk=42))
    for ours, plain in zip(trimmed, batch(junk=42), strict=True):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize("tune", TUNES)
def test_rollout_and_update_agree_on_every_token(make_policy, tune):
    """Checks 1 and 28: log-probabilities seen while decoding equal those of the update's forward, <= 1e-5."""
    policy, b = make_policy(tune, trained=True).train(), batch()
    generation = policy.generate(
        *b[:2], max_new_tokens=9, temperature=0.7, generator=torch.Generator().manual_seed(2)
    )
    again = policy(TokenBatch(*b[:2], generation.response_ids, generation.response_mask), 0.7)
    assert (again.logprobs - generation.logprobs).abs().max() <= 1e-5
    assert policy.training


def test_an_error_while_decoding_leaves_the_policy_whole(make_policy):
    """Check 28: weights restored and mode kept when the block ends with an exception."""
    policy = make_policy(trained=True).train()
    before = {name: p.detach().clone() for name, p in policy.adapted.named_parameters()}
    with pytest.raises(KeyboardInterrupt), merged(policy.adapted):
        raise KeyboardInterrupt
    assert all(torch.equal(p, before[name]) for name, p in policy.adapted.named_parameters())
    assert len(policy.trainable()) == 8


def test_text_leaves_out_the_stop_token_at_the_end_only(make_policy, tokenizer):
    """Every other id is shown; a byte-level tokenizer gives the text back unchanged."""
    policy = make_policy()
    ids = tokenizer("ab  cd\n x").input_ids
    assert policy.text([*ids, 1]) == policy.text(ids) == "ab  cd\n x"
    assert policy.text([1, *ids]).endswith("ab  cd\n x") and policy.text([]) == policy.text([1]) == ""


def test_stop_ids_are_those_of_tokenizer_and_model(make_model, tokenizer, tmp_path, make_policy):
    """Check 20: a model whose generation settings name further ends stops at all of them."""
    model = make_model()
    model.generation_config.eos_token_id = [7, 1, 9]
    save_model(tmp_path / "model", model, tokenizer)
    assert make_policy(base=tmp_path).stop_ids == [1, 7, 9] and make_policy().stop_ids == [1]


def test_a_layer_that_is_not_there_is_an_error(sft_dir, cpu):
    """A mistyped target would otherwise train nothing, or less than was asked for."""
    with pytest.raises(ModelError, match="c_attn"):
        build_policy(sft_dir, TuneConfig(lora_targets=("q_proj", "c_attn")), cpu, seed=0)


def test_adapters_depend_on_the_seed_alone(sft_dir, cpu):
    """Fresh adapters of one seed are equal whatever was drawn before; those of another seed differ."""
    first, second, other = (build_policy(sft_dir, TuneConfig(), cpu, seed=s).trainable() for s in (1, 1, 2))
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


def test_a_frozen_policy_is_the_sft_model_and_has_nothing_to_train(sft_dir, cpu):
    policy = frozen_policy(sft_dir, cpu)
    assert not policy.trainable()
    with torch.no_grad():
        found = policy(batch(), 0.7).logprobs
    for row, expected in zip(found, reference_logprobs(policy, 0.7), strict=True):
        torch.testing.assert_close(row[: len(expected)], expected, rtol=0, atol=1e-5)


def test_a_frozen_policy_needs_no_layer_of_a_certain_name(tmp_path, tokenizer, cpu):
    """Evaluating a model must not depend on where an adapter would go."""
    GPT2LMHeadModel(GPT2Config(vocab_size=262, n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert frozen_policy(tmp_path, cpu)(batch(), 0.7).logprobs.shape == batch().response_mask.shape
    with pytest.raises(ModelError, match="no layer named q_proj"):
        build_policy(tmp_path, TuneConfig(), cpu, seed=0)


_DECODING = "decoding (its layers are not of Llama's form)"


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("llama", "q_proj", ""),
        ("qwen2", "q_proj", ""),
        ("cohere", "q_proj", f"CohereForCausalLM, the plain way: {_DECODING}, rotary positions"),
        ("gpt2", "c_attn", f"GPT2LMHeadModel, the plain way: {_DECODING}, adapters on Conv1D"),
        ("phi", "q_proj", f"PhiForCausalLM, the plain way: {_DECODING}, log-probabilities (its output"),
        (
            "gemma2",
            "q_proj",
            f"Gemma2ForCausalLM, the plain way: {_DECODING}, gates (Gemma2MLP), log-probabilities",
        ),
        (
            "llama",
            "lm_head",
            "LlamaForCausalLM, the plain way: log-probabilities (its output layer has a bias",
        ),
    ],
)
def test_a_policy_says_what_goes_the_plain_way(name, target, said, tokenizer, cpu):
    model = add_lora(small_model(name), TuneConfig(lora_targets=(target,)), seed=1)
    found = Policy(model, tokenizer, cpu, pack=False).plain_ways()
    assert found.startswith(said) and bool(found) == bool(said)


def test_full_tuning_has_no_short_way_to_miss(make_policy):
    assert make_policy("full").plain_ways() == ""
