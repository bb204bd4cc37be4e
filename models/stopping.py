"""What ends a response: tokens, and texts where those are not enough."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.template import TemplateFails, render
from models.tokens import TextCodec

_ANSWER = "\ufdd4"  # stands for an answer while a template is rendered; no character (Unicode, 23.7)


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends a response: EOS, the end of a chat's turn, and those of the generation settings."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    known = configured if isinstance(configured, list) else [configured]
    return sorted({int(i) for i in (tokenizer.eos_token_id, end_of_turn(tokenizer), *known) if i is not None})


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that a chat template writes behind an answer, or None where it writes none."""
    if not tokenizer.chat_template:
        return None
    dialogue = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
    try:
        rendered = render(tokenizer, dialogue)
    except TemplateFails:
        return None  # a template that shows no answers ends none; `wrap` tells whether it can be used at all
    behind = rendered.rpartition(_ANSWER)[2].lstrip()
    added = {str(token): i for i, token in tokenizer.added_tokens_decoder.items()}
    first = max((token for token in added if behind.startswith(token)), key=len, default=None)
    return None if first is None else added[first]


class StopStrings:
    """Ends a response at the token that completes one of a few texts; ids stay as they were sampled."""

    def __init__(self, strings: Sequence[str], codec: TextCodec) -> None:
        """Raises ValueError for an empty text, which every response would hold."""
        if "" in strings:
            raise ValueError("stop: an empty text would end every response at once")
        self._strings = tuple(strings)
        self._codec = codec
        # A token that completes a text holds its last character, or (U+FFFD) a part of some character.
        self._last = {text[-1] for text in strings} | {"\ufffd"}
        self._may_end: dict[int, bool] = {}  # by token: decoding one costs more than the look

    def __bool__(self) -> bool:
        return bool(self._strings)

    def may_end_with(self, token: int) -> bool:
        """Whether there can be a text that this token completes."""
        if token not in self._may_end:
            self._may_end[token] = not self._last.isdisjoint(self._codec.decode([token]))
        return self._may_end[token]

    def completed(self, response_ids: Sequence[int]) -> bool:
        """Whether the response holds one of the texts, once it has this last token."""
        if not self.may_end_with(response_ids[-1]):
            return False
        text = self._codec.decode(response_ids)
        return any(stop in text for stop in self._strings)

    def cut(self, text: str) -> str:
        """What stands before the first of the texts: they are no part of the answer."""
        places = [place for stop in self._strings if (place := text.find(stop)) >= 0]
        return text[: min(places)] if places else text
