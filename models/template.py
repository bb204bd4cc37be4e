"""The words around a problem, as a model knows them: a record of which ones, and the rendering of templates.

Templates are Jinja, as tokenizers carry them (`chat_template`), rendered by transformers in Jinja's immutable
sandbox. A template sees `messages`, `add_generation_prompt`, the special tokens by name (`bos_token`, …), and
also `problem` (the user's message) and `system`. The day that a template writes is one day for ever: by the
clock, a model would read other words tomorrow than it was trained with.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from models.errors import ModelError
from models.storage import write_json

RECORD = "prompt.json"

Keep = Literal["end", "front", "both"]

# Stands for a text while a template is rendered. It is no character (Unicode, 23.7), so no template has it.
_PLACE = "\ufdd4"
# What templates are tempted to change: quotes, brackets, white space, line ends, letters beyond ASCII.
_PROBE = "A {b}\n\n  'c'  \"<d>\" & é\\n\n\tE"
DAY = "2025-01-01"
"""The day of templates that write one, unless a record has another."""
# What strftime replaces; with a hyphen, without the zero in front. Not %s: the time zone decides it.
_DIRECTIVES = "aAbBcdDeFgGhHIjklmMpPrRSTuUVwWxXyYzZ"


@dataclass(frozen=True)
class PromptForm:
    """How problems are put to a model: written beside it, so that what follows reads the same words."""

    prompt: str
    """chat, study, plain, or the file that `template` was read from."""
    template: str
    """The Jinja text of such a file, else empty."""
    system: str
    """System message; empty: none."""
    instruction: str
    """What the template wraps; {problem} stands for the problem's text."""
    prompt_keep: Keep
    """What is kept of a problem that is too long."""
    stop: tuple[str, ...]
    """Texts that end a response."""
    function_instruction: str | None = None
    """What the template wraps where a function is asked for; {name} stands for its name. None: a record of
    before there was one."""
    date: str = DAY
    """The day that a template is told it is, YYYY-MM-DD."""

    def __post_init__(self) -> None:
        date.fromisoformat(self.date)


class TemplateFails(ModelError):
    """A template cannot be rendered, or refuses what it is given."""


def write_form(folder: Path, form: PromptForm) -> None:
    """Write the record beside a model."""
    write_json(folder / RECORD, asdict(form))


def read_form(folder: Path) -> PromptForm | None:
    """The record beside a model, or None where there is none. Raises ModelError where it is damaged."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return form_from(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path}: not a record of a prompt: {error}") from error


def form_from(content: Mapping[str, Any]) -> PromptForm:
    """A record from its JSON values."""
    return PromptForm(**{**content, "stop": tuple(content["stop"])})


def wrap(form: PromptForm, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """What a chat template, or one from a file, puts before and behind a problem's text.

    Raises:
        ModelError: there is no template, it cannot be rendered, takes no system message, leaves the problem
            out, or changes it.
    """
    if not form.template and not tokenizer.chat_template:
        raise ModelError(f"{_name(tokenizer)}: has no chat template; use --prompt study, plain or a file")

    def words(text: str, system: str) -> str:
        user = form.instruction.replace("{problem}", text)
        messages = [{"role": "user", "content": user}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        more = {"add_generation_prompt": True, "problem": user, "system": system}
        return render(tokenizer, messages, chat_template=form.template or None, day=form.date, **more)

    where = form.prompt if form.template else f"{_name(tokenizer)}: its chat template"
    try:
        rendered = words(_PLACE, form.system)
    except TemplateFails as error:
        if form.system and _works(lambda: words(_PLACE, "")):
            raise ModelError(f"{where} takes no system message ({error}); use --system ''") from error
        raise ModelError(f"{where} cannot be rendered: {error}") from error
    head, place, tail = rendered.partition(_PLACE)
    if not place or _PLACE in tail:
        raise ModelError(f"{where} has to hold the problem once, not {rendered.count(_PLACE)} times")
    if words(_PROBE, form.system) != head + _PROBE + tail:
        raise ModelError(f"{where} changes the text of a problem")
    if form.system and form.system.strip() not in head + tail:
        raise ModelError(f"{where} leaves the system message out; use --system ''")
    return head, tail


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    *,
    chat_template: str | None = None,
    day: str = DAY,
    **more: Any,
) -> str:
    """Messages in the words of a chat template, in Jinja's sandbox, on a day YYYY-MM-DD.

    Raises TemplateFails.
    """
    try:
        source = tokenizer.get_chat_template(chat_template)
        if "strftime_now" in source:
            source = _calendar(day) + source
        return tokenizer.apply_chat_template(messages, tokenize=False, chat_template=source, **more)
    except Exception as error:  # a template is a program of somebody else's: what it raises is its own fault
        raise TemplateFails(" ".join(str(error).split())) from error


def _calendar(day: str) -> str:
    """A `strftime_now` for the front of a template, in the place of the one that reads the clock.

    In Jinja, for transformers hands templates values alone and no functions. The line's end is no part of
    what is rendered: transformers has `trim_blocks` on.
    """
    then = date.fromisoformat(day)
    signs = [sign for letter in _DIRECTIVES for sign in (f"%{letter}", f"%-{letter}")]
    replaced = "".join(f".replace({sign!r}, {then.strftime(sign)!r})" for sign in signs)
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"


def _works(words: Callable[[], str]) -> bool:
    try:
        return bool(words())
    except TemplateFails:
        return False


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
