"""Texts as rows without padding in them, against texts by themselves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.batch import TokenBatch
from models.logprobs import final_states
from models.rows import closed_up, row_states
from tests.architectures import WORKING, small_model

PAD = 7


def batch(texts: list[tuple[list[int], list[int]]]) -> TokenBatch:
    """Prompts padded on the left, responses on the right."""
    before, after = max(len(p) for p, _ in texts), max(len(r) for _, r in texts)
    rows = [
        (
            [PAD] * (before - len(p)) + p,
            [False] * (before - len(p)) + [True] * len(p),
            r + [PAD] * (after - len(r)),
            [True] * len(r) + [False] * (after - len(r)),
        )
        for p, r in texts
    ]
    return TokenBatch(*(torch.tensor(column) for column in zip(*rows, strict=True)))


tokens = st.integers(0, 9)
some_texts = st.lists(
    st.tuples(st.lists(tokens, min_size=1, max_size=6), st.lists(tokens, max_size=6)), min_size=1, max_size=5
).filter(lambda texts: any(response for _, response in texts))


@given(some_texts)
def test_texts_begin_their_rows_and_end_before_their_last_token(texts):
    """And no row is longer than the longest of them needs."""
    ids, before = closed_up(batch(texts))
    assert before.tolist() == [len(prompt) for prompt, _ in texts]
    for row, (prompt, response) in zip(ids.tolist(), texts, strict=True):
        if response:
            text = [*prompt, *response[:-1]]
            assert row[: len(text)] == text
    assert ids.shape[1] == max(len(prompt) + len(response) - 1 for prompt, response in texts if response)


def test_where_no_text_has_a_response_there_are_no_states():
    none = batch([([1, 2], [3])])
    none = none._replace(response_mask=torch.zeros_like(none.response_mask))
    assert row_states(small_model("llama").eval(), none).shape == (0, 32)


TEXTS = [([9, 30, 41, 52, 63, 74], [3, 5]), ([8], [13, 15, 17, 19, 21]), ([90, 91, 92], []), ([6, 4], [250])]


@pytest.mark.parametrize("name", sorted(WORKING))
def test_states_are_those_of_texts_by_themselves(name):
    """Whatever stands behind them or in other rows."""
    network = small_model(name).eval()
    with torch.no_grad():
        expected = [
            final_states(network, torch.tensor([[*p, *r]]), len(p) - 1 + torch.arange(len(r)))
            for p, r in TEXTS
            if r
        ]
        found = row_states(network, batch(TEXTS))
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-3, atol=1e-4)
