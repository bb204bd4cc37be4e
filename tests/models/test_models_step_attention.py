"""Attention of one token of each text, against every head for itself."""

import pytest
import torch

from models.step_attention import one_token, one_token_at_a_time
from tests.architectures import small_model


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_heads_that_share_keys_and_values(heads, groups, scaling):
    generator = torch.Generator().manual_seed(heads)
    query, key, value = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((3, heads, 1, 8), (3, groups, 7, 8), (3, groups, 7, 5))
    )
    mask = torch.zeros(3, 1, 1, 7, dtype=torch.float64)
    mask[1, ..., :4] = mask[2, ..., 5:] = torch.finfo(torch.float64).min
    found, _ = one_token(torch.nn.Module(), query, key, value, mask, scaling)
    assert found.shape == (3, 1, heads, 5)
    for row in range(3):
        for head in range(heads):
            group = head // (heads // groups)
            scores = key[row, group] @ query[row, head, 0] * (scaling or 8**-0.5) + mask[row, 0, 0]
            expected = scores.softmax(-1) @ value[row, group]
            torch.testing.assert_close(found[row, 0, head], expected)


def test_a_decoder_is_left_as_it_was():
    network = small_model("llama")
    decoder = network.get_decoder()
    with pytest.raises(KeyError), one_token_at_a_time(decoder):
        assert {network.config._attn_implementation, decoder.config._attn_implementation} == {"one_token"}
        raise KeyError
    assert network.config._attn_implementation == "sdpa"
    decoder.config._attn_implementation = "eager"
    with one_token_at_a_time(decoder):
        assert decoder.config._attn_implementation == "eager"
