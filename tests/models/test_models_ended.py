"""Who listens hears of each response once, as soon as it is known to have ended, and word for word."""

import pytest
from decoding_helpers import PROMPTS, run
from hypothesis import given
from hypothesis import strategies as st

from models.reader import Reader
from models.stopping import StopStrings
from models.tokens import TextCodec

TOKENS = 9


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


class Counting(Reader):
    """Counts the tokens it was asked for, looks every few of them, and drops rows or reads them on."""

    def __init__(self, network, look_every: int, drops: bool) -> None:
        super().__init__(network, TOKENS)
        self.look_every, self._drops, self.tokens = look_every, drops, 0

    def start(self, prompt_ids, prompt_mask):
        self.tokens += 1
        return super().start(prompt_ids, prompt_mask)

    def step(self, tokens):
        self.tokens += 1
        return super().step(tokens)

    def drops(self, staying: int) -> bool:
        return self._drops


@given(
    rows=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=8),
    stops=st.sets(st.integers(0, 261), max_size=60),
    texts=st.sets(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), max_size=4),
    look_every=st.integers(1, TOKENS + 1),
    drops=st.booleans(),
)
def test_each_response_is_heard_of_once_when_it_ends(model, tokenizer, rows, stops, texts, look_every, drops):
    reader = Counting(model, look_every, drops)
    heard: dict[int, tuple[list[int], int]] = {}

    def on_ended(row: int, ids: list[int]) -> None:
        assert row not in heard
        heard[row] = ids, reader.tokens

    strings = StopStrings(sorted(texts), TextCodec(tokenizer))
    made = run(
        model, rows, reader=reader, tokens=TOKENS, stop_ids=stops, stop_strings=strings, on_ended=on_ended
    )
    for row, (ids, mask) in enumerate(zip(made.response_ids, made.response_mask, strict=True)):
        look = -(-int(mask.sum()) // look_every) * look_every  # the first one after its end
        assert heard[row] == (ids[mask].tolist(), min(look, TOKENS))
    assert len(heard) == len(rows)
