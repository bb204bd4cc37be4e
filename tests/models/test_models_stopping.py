"""What ends a response: every stop token that a model has, and texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_zoo import CHAT, EOS, KINDS, make, with_chat

from models.stopping import StopStrings, end_of_turn, stop_ids
from models.tokens import TextCodec

TEMPLATES = {
    CHAT: "<|im_end|>",
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}</s>{% endfor %}": EOS,
    "{% for m in messages %}{{ m.role }}: {{ m.content }} </s>\n{% endfor %}": EOS,
    "{% for m in messages %}### {{ m.role }}\n{{ m.content }}\n{% endfor %}": None,
    "{{ messages[0].content }}": None,
    "{{ raise_exception('one message only') if messages | length > 1 else messages[0].content }}": None,
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_end_of_a_turn_is_what_stands_behind_an_answer(template):
    tokenizer = with_chat(make("qwen"), template)
    token = TEMPLATES[template]
    assert end_of_turn(tokenizer) == (None if token is None else tokenizer.convert_tokens_to_ids(token))


def test_a_turn_ends_where_the_generation_settings_forget_it(make_model, tokenizer):
    """EOS of the tokenizer, the template's end of turn, and what the settings name: all of them."""
    model = make_model()
    chat = with_chat(make("qwen"))
    turn = chat.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.eos_token_id = None
    assert stop_ids(model, chat) == sorted({turn, chat.eos_token_id})
    model.generation_config.eos_token_id = [3, turn]
    assert stop_ids(model, chat) == sorted({3, turn, chat.eos_token_id})
    model.generation_config.eos_token_id = 7
    assert stop_ids(model, tokenizer) == [1, 7]


CODECS = {kind: TextCodec(make(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.text("ab\n# é日", max_size=25),
    st.lists(st.text("ab\n#é日", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_a_response_ends_at_the_token_that_completes_a_stop(kind, text, strings):
    """At the first prefix of the ids whose text holds one, wherever tokens begin and end."""
    codec = CODECS[kind]
    stops = StopStrings(strings, codec)
    ids = codec.follow("x\n", text)
    for end in range(1, len(ids) + 1):
        said = codec.decode(ids[:end])
        if any(string in said for string in strings):
            assert stops.completed(ids[:end])
            kept = stops.cut(said)
            assert said.startswith(kept) and not any(string in kept for string in strings)
            break
        assert not stops.completed(ids[:end])


def test_no_stop_string_changes_nothing(tokenizer):
    stops = StopStrings((), TextCodec(tokenizer))
    assert not stops and stops.cut("a\n\nb") == "a\n\nb"
    with pytest.raises(ValueError, match="empty"):
        StopStrings(("",), TextCodec(tokenizer))
