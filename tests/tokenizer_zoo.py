"""Small tokenizers of the kinds that models come with, trained here on a few lines of code.

Each kind makes a fresh tokenizer; `post` says what it puts around a text: "", "bos", "eos" or "both".
"""

import copy
import json
from collections.abc import Callable
from functools import cache

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
TURNS = ["<|im_start|>", "<|im_end|>"]
LINES = [
    "### Instruction:\nWrite a Python program.\nRead n. Print n + 1.\n### Response:\nn = int(input())\n",
    "for i in range(10):\n    if i % 2 == 0:\n        print(i, end=' ')\n\n\ndef f(x):\n\treturn x\n",
    "é = 'üß日本語'  # → €\nclass A:\n    pass\n\n    def g(self):\n        return ' a  b   c'\n",
] * 20
_BYTES = [f"<0x{i:02X}>" for i in range(256)]
_LETTERS = sorted({c for line in LINES for c in line} - {" ", "\n"})


def _finish(backend: Tokenizer, post: str, **settings: object) -> PreTrainedTokenizerFast:
    """As transformers wraps it, with BOS and EOS around a text as asked for."""
    backend.add_special_tokens([BOS, EOS, PAD])
    before, after = BOS if post in ("bos", "both") else "", EOS if post in ("eos", "both") else ""
    template = processors.TemplateProcessing(
        single=" ".join(filter(None, [before, "$A", after])),
        special_tokens=[(token, backend.token_to_id(token)) for token in (BOS, EOS)],
    )
    kept = [] if backend.post_processor is None else [backend.post_processor]
    backend.post_processor = processors.Sequence([*kept, template])
    names = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **settings)


def _byte_level() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    _train(backend, 500, pre_tokenizers.ByteLevel.alphabet())
    return backend


def _train(backend: Tokenizer, vocab: int, alphabet: list[str], special: list[str] | None = None) -> None:
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=alphabet, special_tokens=special or [], show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)


def plain(post: str) -> PreTrainedTokenizerFast:
    """GPT-2 as it is."""
    return _finish(_byte_level(), post)


def prefix_space(post: str) -> PreTrainedTokenizerFast:
    """GPT-2 and RoBERTa with add_prefix_space, offsets trimmed as they have them."""
    backend = _byte_level()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    return _finish(backend, post)


def qwen(post: str) -> PreTrainedTokenizerFast:
    """NFC, a pattern that keeps line breaks with signs, and many added tokens, some of them not special."""
    backend = _byte_level()
    backend.normalizer = normalizers.NFC()
    pattern = r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|[^\r\n\p{L}\p{N}]?\p{L}+|\s*[\r\n]+|\s+(?!\S)|\s+"
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    _train(backend, 500, pre_tokenizers.ByteLevel.alphabet())
    tokenizer = _finish(backend, post)
    tokenizer.add_tokens([AddedToken(token, special=True) for token in TURNS])
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>", *(f"<extra_{i}>" for i in range(40))])
    return tokenizer


def whitespace_tokens(post: str) -> PreTrainedTokenizerFast:
    """GPT-NeoX, CodeGen and Phi: runs of spaces and tabs are added tokens."""
    tokenizer = _finish(_byte_level(), post)
    tokenizer.add_tokens([AddedToken(" " * i, normalized=True) for i in range(2, 9)] + ["\t\t"])
    return tokenizer


def _sentencepiece() -> Tokenizer:
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    _train(backend, 700, _LETTERS, ["<unk>", BOS, EOS, *_BYTES])
    content = json.loads(backend.to_str())  # bytes are words of the model, not special tokens
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in _BYTES]
    return Tokenizer.from_str(json.dumps(content))


def _metaspace(scheme: str) -> Callable[[str], PreTrainedTokenizerFast]:
    def make(post: str) -> PreTrainedTokenizerFast:
        backend = _sentencepiece()
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        strip = [] if scheme == "never" else [decoders.Strip(" ", 1, 0)]
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
        )
        return _finish(backend, post)

    return make


def llama_legacy(post: str) -> PreTrainedTokenizerFast:
    """Llama 2 and Phi-3: the normaliser puts a space before every stretch of text."""
    backend = _sentencepiece()
    backend.pre_tokenizer = None
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _finish(backend, post)


def gemma(post: str) -> PreTrainedTokenizerFast:
    """Gemma: spaces are replaced, nothing is put in front."""
    backend = _sentencepiece()
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _finish(backend, post)


def unigram(post: str) -> PreTrainedTokenizerFast:
    """SentencePiece's other model, whose vocabulary holds the special tokens as words too."""
    pieces: list[tuple[str, float]] = [("<unk>", 0.0), (BOS, 0.0), (EOS, 0.0)]
    pieces += [(byte, -20.0) for byte in _BYTES]
    pieces += [(c, -6.0) for c in ["▁", "\n", *(chr(i) for i in range(33, 127))]]
    pieces += [
        (word, -4.0) for word in ("▁▁▁▁", "▁print", "print", "▁=", "▁int", "input", "\n▁▁▁▁", "Response")
    ]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always", split=False)]
    )
    return _finish(backend, post)


KINDS: dict[str, Callable[[str], PreTrainedTokenizerFast]] = {
    "byte-level": plain,
    "byte-level, prefix space": prefix_space,
    "qwen": qwen,
    "whitespace tokens": whitespace_tokens,
    "metaspace first": _metaspace("first"),
    "metaspace always": _metaspace("always"),
    "metaspace never": _metaspace("never"),
    "llama legacy": llama_legacy,
    "gemma": gemma,
    "unigram": unigram,
}
POSTS = ("", "bos", "eos", "both")


@cache
def make(kind: str, post: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer of the table, made once."""
    return KINDS[kind](post)


CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def with_chat(tokenizer: PreTrainedTokenizerFast, template: str | None = CHAT) -> PreTrainedTokenizerFast:
    """A copy with turns as special tokens and a chat template."""
    chat = copy.deepcopy(tokenizer)
    chat.add_tokens([AddedToken(token, special=True) for token in TURNS])
    chat.chat_template = template
    return chat
