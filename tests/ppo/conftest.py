"""A network that has learnt to write letters, from which the loop can learn to write one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.adapter import TuneConfig
from models.sft import Demonstration, SFTConfig, prepare_sft, save_model, train_sft

# One thread: the same sums in the same order on every machine, and two cores for two test runs.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def letters_sft(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Any], tokenizer: Any, cpu: Any
) -> Path:
    """The SFT run of the toy task: three random letters out of eight answer any prompt."""
    generator = torch.Generator().manual_seed(0)
    demonstrations = []
    for i in range(64):
        word = "".join("abcdefgh"[k] for k in torch.randint(8, (3,), generator=generator).tolist())
        ids = tuple(t for letter in word for t in tokenizer(letter).input_ids)
        demonstrations.append(Demonstration(tuple(tokenizer(f"{i % 10}:").input_ids), ids))
    config = SFTConfig(epochs=12.0, learning_rate=0.02, batch_size=16, validate_every=1000)
    losses: list[float] = []
    model = train_sft(
        prepare_sft(make_model(), config, TuneConfig(tune="full"), cpu),
        tokenizer.eos_token_id,
        demonstrations,
        [],
        config,
        cpu,
        lambda step, steps, metrics: losses.append(metrics["loss"]),
    )
    assert losses[0] > 3 * losses[-1] and losses[-1] < 2.2  # from log 262 towards 3/4 log 8
    folder = tmp_path_factory.mktemp("letters")
    save_model(folder / "model", model, tokenizer)
    return folder
