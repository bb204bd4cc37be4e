"""Text to ids and back, so that the ids are those of the whole text and a program comes back byte for byte.

Tokenizers are made for whole texts. Pieces encoded apart begin with a space of their own where a tokenizer
puts one in front (`add_prefix_space`, Metaspace, Llama's normaliser); the text of a special token, in a
program, becomes that token; and decoding drops the first space of whatever it is given. So a prompt and what
follows it are encoded once and cut at the border, text is never read as special tokens, and ids are decoded
behind a letter.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from models.errors import ModelError, UnwritableText

# What each of them has, a program may need. Line breaks are "\n": Python reads "\r\n" as the same program.
SAMPLES = {
    "indentation": "if x:\n    if y:\n        z = 1\n",
    "tabs": "if x:\n\tif y:\n\t\tz = 1\n",
    "a leading space": " x = 1",
    "leading and trailing line breaks": "\nx = 1\n\n",
    "blank lines": "x = 1\n\n\ny = 2",
    "runs of spaces": "x  =   'a     b' \n",
    "upper and lower case": "Ab = aB",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ x , y . z ! don 't",
    "digits": "0123456789 1000000 007",
    "letters beyond ASCII": "é = 'üßЖ日本語'",
    "signs beyond ASCII": "print('→ € 😀')",
}


# Signs for the tokenizer alone. These code points are no characters (Unicode, 23.7), so no text has them.
_BORDER = "\ufdd0"  # cuts a text there, as special tokens do
_MARK = "\ufdd1{}\ufdd2"  # the special token of that id, written by a template
_SIGNS = re.compile("[\ufdd0-\ufdd2]")


class Pieces(NamedTuple):
    """A text as the tokenizer cuts it."""

    ids: list[int]
    starts: list[int]
    """The character at which each token begins; tokens that share one character all begin at it."""


class TextCodec:
    """A tokenizer as this project uses it.

    `encode` knows no special token and adds none: `bos` is what stands before a text, once. It works on a
    copy of the tokenizer, which is left as it is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int] = ()) -> None:
        """`stop_ids`: every id that ends a response; the tokenizer's EOS alone where none is given.

        Raises:
            ModelError: the tokenizer cannot tell which characters its tokens stand for (a slow one), or
                programs do not survive it.
        """
        self.tokenizer = tokenizer
        self.stop_ids = sorted({int(i) for i in stop_ids or (tokenizer.eos_token_id,)})
        self._name = tokenizer.name_or_path or type(tokenizer).__name__
        named = {*tokenizer.all_special_ids, *self.stop_ids}
        added = tokenizer.added_tokens_decoder.items()
        self._special = {i: token for i, token in added if token.special or i in named}
        self._reserved = {*self._special, *tokenizer.all_special_ids}
        self._backend = self._plain_backend()
        self._border: int = self._backend.token_to_id(_BORDER)
        self._marked = self._marks()
        self._anchor: list[int] = self._backend.encode("a", add_special_tokens=False).ids
        self._anchor_length = len(self._decode(self._anchor))
        self.bos = self._prefix()
        self._check_programs()
        # Behind the check: a model may stop at an ordinary token too, which is no fault of its tokenizer.
        self._reserved.update(self.stop_ids)

    def mark(self, template: str) -> str:
        """A template's text in which special tokens are meant: `encode` makes them the tokens they name."""
        ids = {str(token): i for i, token in self._special.items()}
        names = sorted(ids, key=len, reverse=True)
        pattern = "|".join(map(re.escape, names)) or "(?!)"
        return re.sub(pattern, lambda match: _MARK.format(ids[match[0]]), template)

    def plain(self, text: str) -> str:
        """The text as it is, if no sign of `mark` stands in it. Raises UnwritableText."""
        if found := _SIGNS.search(text):
            raise UnwritableText(f"{self._name}: cannot write {found[0]!r}, which is no character")
        return text

    def encode(self, text: str) -> Pieces:
        """The tokens of a text (see `mark` for special ones), without any before or after it.

        Raises:
            UnwritableText: a stop id or another special one stands among them. Most tokenizers write the text
                of such a token in ordinary pieces; with one that cannot, a program would end in the middle.
        """
        encoding = self._backend.encode(text, add_special_tokens=False)
        self._refuse_special(encoding.ids)
        ids = [self._marked.get(i, i) for i in encoding.ids]
        return Pieces(ids, [start for start, _ in encoding.offsets])

    def follow(self, prompt: str, text: str) -> list[int]:
        """The ids of `text` behind `prompt`: what the model has to say to write it there.

        They are the pieces of the whole behind those of the prompt. Where a token of the whole reaches over
        the border it is cut there: the prompt was read before anything followed it, and keeps its own tokens.

        Raises:
            UnwritableText: the text does not survive (or, as in `encode`, holds a special token).
        """
        before, whole = self.encode(prompt).ids, self.encode(prompt + self.plain(text)).ids
        aligned = whole[: len(before)] == before
        ids = whole[len(before) :] if aligned else self._behind_border(prompt, text)
        ids = self._without_prefix(ids, text)
        if self.decode(ids) != text:
            raise UnwritableText(f"{self._name}: {text[:40]!r} does not come back from its tokens")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids add behind a prompt, special tokens written out, first space included."""
        return self._decode([*self._anchor, *ids])[self._anchor_length :]

    def text(self, response_ids: Sequence[int]) -> str:
        """The text of one response; a stop token at its end is not part of it."""
        ended = bool(response_ids) and response_ids[-1] in self.stop_ids
        return self.decode(response_ids[:-1] if ended else response_ids)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _plain_backend(self) -> Any:
        """A copy that reads special tokens as the text they are, adds none and cuts nothing."""
        if not self.tokenizer.is_fast:
            raise ModelError(
                f"{self._name}: a tokenizer in Python does not say which characters its tokens stand for; "
                "use one with a tokenizer.json"
            )
        backend = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        backend.encode_special_tokens = True
        backend.post_processor = None  # it would add BOS and EOS, and leave spaces out of the offsets
        backend.no_truncation()
        backend.no_padding()
        backend.add_tokens([AddedToken(_BORDER, normalized=False)])
        for i, token in self._special.items():
            sides = {"lstrip": token.lstrip, "rstrip": token.rstrip, "single_word": token.single_word}
            backend.add_tokens([AddedToken(_MARK.format(i), normalized=False, **sides)])
        return backend

    def _marks(self) -> dict[int, int]:
        """Ids of the signs of special tokens -> the ids that they stand for."""
        return {self._backend.token_to_id(_MARK.format(i)): i for i in self._special}

    def _prefix(self) -> tuple[int, ...]:
        """What the tokenizer puts before a text (BOS); an EOS behind it has no place in a prompt."""
        ids: list[int] = self.tokenizer("a").input_ids
        places = [i for i in range(len(ids)) if ids[i : i + len(self._anchor)] == self._anchor]
        if not places:
            raise ModelError(f"{self._name}: cannot tell the text from the special tokens in {ids}")
        return tuple(ids[: places[0]])

    def _behind_border(self, prompt: str, text: str) -> list[int]:
        """The ids of `text` where no token may reach over the border, as behind a special token."""
        ids = self._backend.encode(prompt + _BORDER + text, add_special_tokens=False).ids
        ids = ids[ids.index(self._border) + 1 :]
        self._refuse_special(ids)
        return ids

    def _refuse_special(self, ids: Sequence[int]) -> None:
        if wrong := self._reserved.intersection(ids):
            token = self.tokenizer.convert_ids_to_tokens(min(wrong))
            raise UnwritableText(f"{self._name}: cannot write {token!r} but as a special token")

    def _without_prefix(self, ids: list[int], text: str) -> list[int]:
        """The ids without the space that some tokenizers put before the text behind a special token."""
        if self.decode(ids) != " " + text:
            return ids
        first = self._backend.model.tokenize(self._backend.id_to_token(ids[0])[1:])
        return [piece.id for piece in first] + ids[1:]

    def _check_programs(self) -> None:
        """Raise ModelError where a program does not come back as it was."""
        lost = []
        for name, program in SAMPLES.items():
            try:
                self.follow("Write:\n", program)
            except UnwritableText:
                lost.append(name)
        if lost:
            raise ModelError(
                f"{self._name}: programs do not survive this tokenizer, lost are: {', '.join(lost)}; "
                "take a model whose tokenizer keeps every character"
            )
