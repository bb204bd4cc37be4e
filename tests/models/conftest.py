"""One thread: the same sums in the same order on every machine, and two cores for two test runs."""

import pytest
import torch
from transformers.integrations import sdpa_attention

torch.set_num_threads(1)

_SHARED = sdpa_attention.use_gqa_in_sdpa


@pytest.fixture(autouse=True)
def heads_may_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that chooses a GPU by which they are not leaves things as they were (models/shared_heads.py)."""
    monkeypatch.setattr(sdpa_attention, "use_gqa_in_sdpa", _SHARED)
