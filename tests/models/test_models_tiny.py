"""The embedded default: any text survives its tokenizer, and one seed is one network."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tiny import TinyConfig, build_model, build_tokenizer

TOKENIZER = build_tokenizer(["print(int(input()) + 1)\n"] * 5, 300)


@given(st.text(max_size=60))
def test_every_text_survives(text):
    """Byte-level: encoding and decoding give back any text, spaces before punctuation included."""
    assert TOKENIZER.decode(TOKENIZER(text).input_ids, clean_up_tokenization_spaces=False) == text


def test_merges_are_learnt_from_the_texts():
    """Programs get shorter; nothing is added in front or behind."""
    ids = TOKENIZER("print(int(input()) + 1)").input_ids
    assert len(ids) < 12 and TOKENIZER.eos_token_id not in ids
    assert TOKENIZER.pad_token_id != TOKENIZER.eos_token_id
    assert len(TOKENIZER) <= 300


def test_default_size():
    """Half a million parameters, embeddings shared with the head."""
    tokenizer = build_tokenizer([chr(i) * 2 + chr(j) for i in range(97, 123) for j in range(97, 123)], 512)
    model = build_model(tokenizer, TinyConfig(), seed=1)
    assert 0.35e6 < sum(p.numel() for p in model.parameters()) < 0.6e6
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_weights_depend_on_the_seed_alone():
    """Whatever was drawn before; torch's own generator is left as it was."""
    config = TinyConfig(hidden_size=16, layers=1, heads=2, feed_forward=16)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = build_model(TOKENIZER, config, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(6)
    second, other = (build_model(TOKENIZER, config, seed=s) for s in (1, 2))
    pairs = list(zip(first.parameters(), second.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs) and not all(torch.equal(a, c) for a, _, c in pairs)
