"""Tokens are those of the text: a table of tokenizers, and any text, there and back."""

import unicodedata
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizer_zoo import BOS, EOS, KINDS, POSTS, make
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers import models as token_models
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from data import render
from data.tiny.corpus import TinyCorpusConfig, tiny_split
from data.tiny.slips import demonstrations
from models.errors import ModelError, UnwritableText
from models.tiny import EOS as END
from models.tiny import build_tokenizer
from models.tokens import SAMPLES, TextCodec

PROMPT = "### Instruction:\nWrite a Python program.\nRead n.\n### Response:\n"
PROGRAMS = [
    "n = int(input())\nprint(n + 1)\n",
    " print(1)",
    "    x = 1\n\ty = 2",
    "\n\nprint('a  b')\n\n\n",
    "\r\nx = 1\r\n",
    "s = 'é 日本 😀 \u0416'\n",
    "\u200d\u00a0print()",
    "print('<s></s><pad><unk><0x0A><|im_end|>')",
    "",
]


@cache
def codec(kind: str, post: str = "") -> TextCodec:
    return TextCodec(make(kind, post))


def spoken(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_programs_survive_and_are_the_pieces_of_the_whole(kind, post):
    """Whatever stands around a text by itself: prompt and program are the tokens of both together."""
    tokens, tokenizer = codec(kind, post), make(kind, post)
    before = tokens.encode(PROMPT).ids
    for program in PROGRAMS:
        if kind == "unigram" and EOS in program:
            continue  # see test_special_tokens_in_a_text_are_text
        after = tokens.follow(PROMPT, program)
        assert tokens.decode(after) == program
        assert spoken(tokenizer, before + after) == spoken(tokenizer, before) + program
        whole = tokenizer(PROMPT + program, add_special_tokens=False, split_special_tokens=True).input_ids
        assert before + after == whole or whole[: len(before)] != before


@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_bos_stands_before_a_text_once_and_eos_nowhere(kind, post):
    tokens, tokenizer = codec(kind, post), make(kind, post)
    assert tokens.bos == ((tokenizer.convert_tokens_to_ids(BOS),) if post in ("bos", "both") else ())
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(tokens.encode(PROMPT).ids)


@pytest.mark.parametrize("kind", KINDS)
@given(st.text(max_size=12), st.text(max_size=20))
@example("\n", "\n    x")
@example("a", "b")
@example(" ", " ")
def test_any_text_behind_any_other(kind, prompt, text):
    """It comes back byte for byte, or is refused: only what the tokenizer has no sign for."""
    tokens = codec(kind)
    prompt, text = (unicodedata.normalize("NFC", part) for part in (prompt + "|\n", text))
    try:
        ids = tokens.follow(prompt, text)
    except UnwritableText:
        assert "\u2581" in text and kind not in ("byte-level", "byte-level, prefix space", "qwen")
        return
    assert tokens.decode(ids) == text
    before = tokens.encode(prompt).ids
    assert spoken(tokens.tokenizer, before + ids) == spoken(tokens.tokenizer, before) + text


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_keeps_its_first_space(kind):
    """Decoded alone, " x" loses it under Metaspace; and "x" gains none under add_prefix_space."""
    tokens = codec(kind)
    for program in (" x", "    x", "x", "\tx", "\nx"):
        ids = tokens.follow(PROMPT, program)
        assert tokens.text([*ids, tokens.stop_ids[0]]) == tokens.text(ids) == program


@pytest.mark.parametrize("kind", ["byte-level, prefix space", "metaspace always", "llama legacy", "unigram"])
def test_no_demonstration_begins_with_a_space_of_the_tokenizer(kind):
    """Encoded alone every program would begin with one, and be an IndentationError."""
    tokens, tokenizer = codec(kind), make(kind)
    alone = tokenizer("print(1)", add_special_tokens=False).input_ids
    assert tokenizer.convert_ids_to_tokens(alone)[0][0] in "\u0120\u2581"
    assert tokens.follow(PROMPT, "print(1)") != alone
    assert tokens.decode(tokens.follow(PROMPT, "print(1)")) == "print(1)"


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_a_text_are_text(kind):
    """Of a program that prints one, no token ends the response."""
    tokens, tokenizer = codec(kind), make(kind)
    for token in (*tokenizer.all_special_tokens, "<|im_end|>", "<think>"):
        program = f"print('{token}')"
        if kind == "unigram" and token in (BOS, EOS):
            with pytest.raises(UnwritableText, match=token):  # a word of its vocabulary, and the likeliest
                tokens.follow(PROMPT, program)
            continue
        ids = tokens.follow(PROMPT, program)
        assert tokens.text(ids) == program and not set(ids) & set(tokenizer.all_special_ids)


def test_a_stop_token_that_cannot_be_written():
    """An added token that is not special is always read as one: refused, never taught."""
    qwen = make("qwen")
    tokens = TextCodec(qwen, [qwen.convert_tokens_to_ids("</think>")])
    with pytest.raises(UnwritableText, match="</think>"):
        tokens.encode("a </think> b")
    assert tokens.follow(PROMPT, "print('<think>')")


@pytest.mark.parametrize("kind", ["byte-level", "qwen", "whitespace tokens", "gemma", "unigram"])
def test_a_token_over_the_border_is_cut_there(kind):
    """The prompt was read before anything followed it, so it keeps its own tokens."""
    tokens, cut = codec(kind), 0
    for prompt in ("x =", "x = ", "x =\n", "x =\n  ", "a\t"):
        for program in ("    b", "  b\n", "\n\n  b", "int", "\t\tb"):
            before, whole = tokens.encode(prompt).ids, tokens.encode(prompt + program).ids
            after = tokens.follow(prompt, program)
            assert tokens.decode(after) == program
            cut += whole[: len(before)] != before
            assert whole == before + after or whole[: len(before)] != before
    assert cut >= 2


def test_offsets_are_characters():
    """Tokens that share a character begin at it; spaces count."""
    pieces = codec("byte-level, prefix space").encode("é  x")
    assert pieces.starts[0] == 0 and sorted(pieces.starts) == pieces.starts
    assert codec("byte-level").encode("日x").starts[-1] == 1


def word_level(*, normalizer: Any = None, decoder: Any = None) -> Any:
    """Every character a word of its own, but for what is done before and after."""
    characters = sorted({c for sample in SAMPLES.values() for c in sample} | set(PROMPT))
    backend = Tokenizer(token_models.WordLevel({c: i for i, c in enumerate(["[UNK]", *characters])}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.normalizer, backend.decoder = normalizer, decoder or decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="[UNK]")


def bert() -> Any:
    words = [
        "[UNK]",
        *"abcdefghijklmnopqrstuvwxyz0123456789:=",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    backend = Tokenizer(token_models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]", unk_token="[UNK]")


REFUSED = {
    "lower case": (lambda: word_level(normalizer=normalizers.Lowercase()), "upper and lower case"),
    "strips": (lambda: word_level(normalizer=normalizers.Replace("\t", "")), "tabs"),
    "joins blanks": (
        lambda: word_level(normalizer=normalizers.Replace("  ", " ")),
        "indentation, runs of spaces",
    ),
    "lines": (lambda: word_level(normalizer=normalizers.Replace("\n\n", "\n")), "blank lines"),
    "leading": (
        lambda: word_level(decoder=decoders.Sequence([decoders.Fuse(), decoders.Replace("\n ", "\n")])),
        "indentation",
    ),
    "accents": (
        lambda: word_level(normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])),
        "letters beyond ASCII",
    ),
    "wordpiece": (bert, "indentation, tabs, .*, upper and lower case, punctuation"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tokenizers_that_lose_something_are_refused(case):
    """In one line that says what."""
    make_it, lost = REFUSED[case]
    with pytest.raises(ModelError, match=lost) as error:
        TextCodec(make_it())
    assert "\n" not in str(error.value)


def test_the_plain_one_of_the_table_above_is_taken():
    assert TextCodec(word_level()).follow("x", " a") == word_level()(" a").input_ids


def test_a_tokenizer_without_offsets_is_refused():
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        TextCodec(ByT5Tokenizer())


def test_the_tokenizer_is_left_as_it_is():
    tokenizer = make("qwen", "both")
    before = tokenizer.backend_tokenizer.to_str(), tokenizer("a<|im_end|>").input_ids
    TextCodec(tokenizer).encode("a<|im_end|>")
    assert (tokenizer.backend_tokenizer.to_str(), tokenizer("a<|im_end|>").input_ids) == before


def test_the_embedded_tokenizer_gives_the_ids_it_always_gave():
    """Prompt and program of the embedded corpus are what the tokenizer itself makes of each."""
    pairs = demonstrations(tiny_split("sft", TinyCorpusConfig(sft=400, rl=40)))
    tokenizer = build_tokenizer((render(problem) + program for problem, program in pairs), 512)
    tokens = TextCodec(tokenizer)
    assert tokens.bos == () and tokens.stop_ids == [tokenizer.eos_token_id]
    for problem, program in pairs:
        prompt = render(problem)
        assert tokens.encode(prompt).ids == tokenizer(prompt).input_ids
        after = tokenizer(program, add_special_tokens=False).input_ids
        assert tokens.follow(prompt, program) == after and tokens.decode(after) == tokenizer.decode(after)
    ids = tokens.follow(prompt, f"print('{END}')")
    assert tokenizer.eos_token_id not in ids and tokens.text(ids) == f"print('{END}')"
