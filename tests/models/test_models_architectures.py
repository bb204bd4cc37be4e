"""Architectures as they come: what is trained and measured is the model, or it is refused at once."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import REFUSED, WORKING, linear_layers, relatives_slow, small_model, transformers_loss
from sft_helpers import rows, run_sft
from transformers import AutoModelForCausalLM

from models.adapter import TuneConfig
from models.batch import TokenBatch
from models.errors import ModelError
from models.policy import Policy, build_policy, frozen_policy
from models.precision import Precision
from models.sft import prepare_sft, save_model
from models.sft_config import SFTConfig
from models.sft_data import Demonstration
from models.sft_loss import written_loss
from models.storage import load_model

EOS = 1
FULL = TuneConfig(tune="full")
DEMOS = [
    Demonstration(tuple(range(40, 52)), (60, 61, 62)),
    Demonstration((9, 8), (70,)),
    Demonstration((100, 101, 102), (80, 81, 82, 83, 84)),
]


def sampled(policy: Policy) -> tuple[TokenBatch, torch.Tensor]:
    """Responses to prompts of 3 and 12 tokens, and decoding's log-probabilities; rows end at other times."""
    ids = torch.tensor(
        [[0] * 9 + [40, 41, 42], list(range(50, 62)), list(range(90, 102)), [0, 0, *range(10)]]
    )
    mask = torch.arange(12) >= torch.tensor([9, 0, 0, 2])[:, None]
    policy.stop_ids = list(range(0, 264, 6))
    made = policy.generate(
        ids, mask, max_new_tokens=9, temperature=0.7, generator=torch.Generator().manual_seed(0)
    )
    assert len(set(made.response_mask.sum(dim=1).tolist())) > 1
    return TokenBatch(ids, mask, made.response_ids, made.response_mask), made.logprobs


def own_logprobs(network: Any, batch: TokenBatch, temperature: float) -> torch.Tensor:
    """Of the responses, each text alone, by the logits that transformers gives for it."""
    found = torch.zeros(batch.response_mask.shape)
    for row in range(len(found)):
        prompt = batch.prompt_ids[row][batch.prompt_mask[row]]
        response = batch.response_ids[row][batch.response_mask[row]]
        with torch.no_grad():
            logits = network(input_ids=torch.cat([prompt, response])[None]).logits[0].float()
        logprobs = torch.log_softmax(logits[len(prompt) - 1 : -1] / temperature, dim=-1)
        found[row, : len(response)] = logprobs.gather(-1, response[:, None]).squeeze(-1)
    return found


@pytest.mark.parametrize("name", relatives_slow(WORKING))
def test_what_is_trained_sampled_and_written_is_the_model(
    name: str, tmp_path: Path, tokenizer: Any, cpu: Any
):
    """SFT's validation loss is that of transformers on the saved folder (1e-3; its weights moved); a policy
    on it decodes, scores and refers by transformers' own log-probabilities, and its first ratio is 1."""
    config = SFTConfig(epochs=3.0, learning_rate=0.003, warmup=0.0)
    model = run_sft(tmp_path, small_model(name), config, FULL, cpu, DEMOS, DEMOS, EOS)
    save_model(tmp_path / "model", model, tokenizer)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    loss = rows(tmp_path)[-1]["validation_loss"]
    assert loss == pytest.approx(transformers_loss(saved, DEMOS, EOS), abs=1e-3)
    assert loss < transformers_loss(small_model(name), DEMOS, EOS) - 0.02

    tune = TuneConfig(lora_rank=2, lora_targets=linear_layers(saved))
    policy = build_policy(tmp_path / "model", tune, cpu, seed=1).train()
    batch, decoded = sampled(policy)
    expected = own_logprobs(saved, batch, 0.7)
    with torch.no_grad():
        for found in (decoded, policy(batch, 0.7).logprobs, policy.ref_logprobs(batch, 0.7)):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


HALF = Precision(torch.device("cpu"), torch.bfloat16)
FEW = {("gpt2", "full"), ("gemma2", "lora"), ("mixtral", "full")}


@pytest.mark.parametrize(
    ("name", "tune"),
    [
        pytest.param(*row, marks=[] if row in FEW else pytest.mark.slow)
        for row in itertools.product(WORKING, ("full", "lora"))
    ],
)
def test_the_loss_that_is_written_is_that_of_the_saved_model_in_half_precision(
    name: str, tune: Any, tmp_path: Path, tokenizer: Any
):
    """To the last digits, though padding rounds otherwise: some texts are much longer than others."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 264, (12, 60), generator=draw).tolist()
    demos = [
        Demonstration(tuple(row[: 3 + 3 * i]), tuple(row[40 : 41 + 5 * (i % 4)])) for i, row in enumerate(ids)
    ]
    save_model(tmp_path / "given", small_model(name), tokenizer)
    model = load_model(tmp_path / "given", torch.bfloat16)
    config = SFTConfig(epochs=2.0, learning_rate=0.003, warmup=0.0)
    how = TuneConfig(tune=tune, lora_rank=2, lora_targets=linear_layers(model))
    trained = run_sft(tmp_path, model, config, how, HALF, demos, demos, EOS)
    save_model(tmp_path / "model", trained, tokenizer)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert saved.dtype == torch.bfloat16
    loss = written_loss(trained, demos, EOS, config, HALF)
    assert loss == pytest.approx(transformers_loss(saved, demos, EOS), abs=2e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_training(name: str, tmp_path: Path, tokenizer: Any, cpu: Any):
    """By SFT, PPO and evaluation alike, in one line that names the architecture."""
    model = small_model(name)
    save_model(tmp_path, model, tokenizer)
    tries: list[Callable[[], Any]] = [
        lambda: prepare_sft(model, SFTConfig(), FULL, cpu),
        lambda: build_policy(tmp_path, FULL, cpu, seed=1),
        lambda: frozen_policy(tmp_path, cpu),
    ]
    for attempt in tries:
        with pytest.raises(ModelError, match=type(model).__name__) as told:
            attempt()
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "mixtral"])
def test_half_precision_is_verified_too(name: str):
    """Rounding is told from another model."""
    prepare_sft(small_model(name, sharpness=3.0).bfloat16(), SFTConfig(), FULL, HALF)
