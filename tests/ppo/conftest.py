"""A network that has learnt to write letters, from which the loop can learn to write one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sft_helpers import rows, run_sft

from models.adapter import TuneConfig
from models.sft import save_model
from models.sft_config import SFTConfig
from models.sft_data import Demonstration

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
    folder = tmp_path_factory.mktemp("letters")
    eos_id = tokenizer.eos_token_id
    model = run_sft(folder, make_model(), config, TuneConfig(tune="full"), cpu, demonstrations, [], eos_id)
    losses = [row["loss"] for row in rows(folder)]
    assert losses[0] > 3 * losses[-1] and losses[-1] < 2.2  # from log 262 towards 3/4 log 8
    save_model(folder / "model", model, tokenizer)
    return folder
