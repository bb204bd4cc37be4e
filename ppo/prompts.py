"""Problems to prompt ids: the one encoding that SFT, rollouts and evaluation share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from data import Problem
from data.prompts import INSTRUCTION, study_template
from models.errors import ModelError
from models.stopping import end_of_turn
from models.template import Keep, PromptForm, wrap
from models.tokens import TextCodec

# What earns, said to models that follow instructions: programs are run on standard input and their output is
# compared, so a question on the screen, an explanation or a function that nobody calls is worth nothing.
CHAT_INSTRUCTION = (
    "Write a Python program that reads from standard input with input() and prints only the result. "
    "Answer with the code only.\n{problem}"
)
_INSTRUCTIONS = {"chat": CHAT_INSTRUCTION, "study": INSTRUCTION}
# Of a function-call task: tests call the function by its name, and what it prints is worth nothing.
CHAT_FUNCTION = (
    "Write Python code that defines {name}. It is called with arguments and has to return the result. "
    "Answer with the code only.\n{problem}"
)
_FUNCTIONS = {"chat": CHAT_FUNCTION, "study": "Write a Python program that defines {name}.\n{problem}"}
# Of a task without tests nothing is run, and many are the beginning of a program.
CHAT_CODE = (
    "Write the Python code that is described here, or complete the code if this is its beginning. "
    "Answer with the code only.\n{problem}"
)
_CODE = {"chat": CHAT_CODE, "study": INSTRUCTION}
_NAME = "\ufdd5"  # for {name} while a template is rendered: no character (Unicode, 23.7), so in no template
_GAP = "\n...\n"  # where the middle of a problem was left out


@dataclass(frozen=True)
class PromptConfig:
    """How problems are put to the model. What is left at its default is as the model was trained."""

    prompt: str = "auto"
    """auto: as the model was trained, else its tokenizer's chat template, else study. chat: that template.
    study: "### Instruction:" and "### Response:". plain: the problem alone. Or a file: a Jinja template as
    tokenizers have them (it sees messages, and also problem and system)."""
    system: str | None = None
    """System message of a chat template; empty: none, which is the default."""
    instruction: str | None = None
    """What the template wraps; {problem} stands for the problem's text. Default for chat: a program that
    reads standard input and prints only the result, code only."""
    prompt_keep: Keep | None = None
    """What is kept of a problem over max_prompt_tokens: its end (default: it holds formats and examples), its
    front, or both."""
    stop: tuple[str, ...] = ()
    """Texts that end a response, at the token that completes one; they are no part of the program."""
    function_instruction: str | None = None
    """The instruction where a function is asked for (entry_point); {name} stands for its name. Default for
    chat: code that defines it and returns the result, code only."""

    def __post_init__(self) -> None:
        for name in ("instruction", "function_instruction"):
            if (text := getattr(self, name)) is not None and text.count("{problem}") != 1:
                raise ValueError(f"{name} must hold {{problem}} once: the place of the problem's text")
        if "" in self.stop:
            raise ValueError("stop must not hold an empty text: every response would end at once")

    @property
    def file(self) -> Path | None:
        """The template file, if one is named."""
        return None if self.prompt in ("auto", "chat", "study", "plain") else Path(self.prompt)


def choose_form(
    config: PromptConfig, recorded: PromptForm | None, tokenizer: PreTrainedTokenizerBase, where: Path | str
) -> PromptForm:
    """What the settings and the record beside a model (or in a checkpoint) come to.

    Args:
        recorded: what SFT or PPO wrote down, if it did. `where`: the model, for messages.

    Raises:
        ModelError: a setting is another than the recorded one, or a template file is missing.
    """
    template = "" if config.file is None else _read(config.file)
    asked: dict[str, Any] = {
        "prompt": None if config.prompt == "auto" else config.prompt,
        "template": template or None,
        "system": config.system,
        "instruction": config.instruction,
        "function_instruction": config.function_instruction,
        "prompt_keep": config.prompt_keep,
        "stop": config.stop or None,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if recorded is not None and recorded.function_instruction is None:
        usual = _FUNCTIONS.get(recorded.prompt, "{problem}")
        recorded = replace(recorded, function_instruction=given.get("function_instruction", usual))
    if recorded is None:
        kind: str = given.get("prompt") or ("chat" if tokenizer.chat_template else "study")
        instruction = _INSTRUCTIONS.get(kind, "{problem}")
        function = _FUNCTIONS.get(kind, "{problem}")
        recorded = PromptForm(kind, template, "", instruction, "end", (), function)
    elif other := [name for name, value in given.items() if not _agree(name, value, recorded, template)]:
        name = other[0]
        same_file = " (with another text)" if recorded.prompt == config.prompt and name == "template" else ""
        flag = "prompt" if name == "template" else name
        known, wanted = getattr(recorded, flag), given[flag]
        raise ModelError(
            f"{where} was made with {flag} {_shown(known)}, not {_shown(wanted)}{same_file}: "
            f"leave --{flag.replace('_', '-')} out, or train a model with it"
        )
    form = replace(recorded, **given)
    if form.system and form.prompt in ("study", "plain"):
        raise ModelError(f"--system goes with a chat template, and the prompt of {where} is {form.prompt}")
    return form


class PromptTemplate:
    """One form in the words and tokens of one model."""

    def __init__(self, codec: TextCodec, form: PromptForm) -> None:
        """Raises ModelError where the model's template cannot be used; see `models.template.wrap`."""
        self.codec, self.form = codec, form
        function = (form.function_instruction or "{problem}").replace("{name}", _NAME)
        self.head, self.tail = self._wrapped(form)
        self._of_functions = self._wrapped(replace(form, instruction=function))
        # An instruction of the user's own is for every task.
        usual = form.instruction == _INSTRUCTIONS.get(form.prompt)
        code = _CODE[form.prompt] if usual else form.instruction
        self._untested = self._wrapped(replace(form, instruction=code))
        turn = end_of_turn(codec.tokenizer) if form.prompt == "chat" else None
        self.end: int = codec.tokenizer.eos_token_id if turn is None else turn
        """The token that a demonstration ends with."""
        # A chat template is the whole text, BOS included; others get the tokenizer's, unless they begin so.
        written = codec.encode(self.head).ids[: len(codec.bos)]
        self.bos = () if form.prompt == "chat" or written == list(codec.bos) else codec.bos

    def _wrapped(self, form: PromptForm) -> tuple[str, str]:
        """What stands before and behind a problem's text, special tokens marked."""
        if form.prompt == "study":
            head, tail = study_template(form.instruction)
        elif form.prompt == "plain":
            head, _, tail = (form.instruction + "\n").partition("{problem}")
        else:
            head, tail = wrap(form, self.codec.tokenizer)
        return self.codec.mark(head), self.codec.mark(tail)

    @property
    def words(self) -> tuple[str, ...]:
        """All that it puts around problems, of each kind; first the ids of BOS."""
        bos = " ".join(map(str, self.bos))
        return (bos, self.head, self.tail, *self._of_functions, *self._untested)

    def around(self, problem: Problem) -> tuple[str, str]:
        """`head` and `tail`, or those of a problem that asks for a function, or that has no tests."""
        if not problem.tests and problem.cwe is not None:
            return self._untested
        if problem.entry_point is None:
            return self.head, self.tail
        name = self.codec.plain(problem.entry_point)
        head, tail = (text.replace(_NAME, name) for text in self._of_functions)
        return head, tail


@dataclass(frozen=True)
class EncodedPrompt:
    """A problem as the model reads it."""

    problem: Problem
    ids: tuple[int, ...]
    truncated: bool
    """Whether a part of the problem text was left out."""
    text: str
    """What the ids say, without BOS, special tokens of the template marked: see `TextCodec.follow`."""


def encode_prompt(template: PromptTemplate, problem: Problem, max_tokens: int) -> EncodedPrompt:
    """The rendered problem as ids. One that is too long keeps the template and a part of its text.

    What is cut is the text, before it becomes tokens: so the tokens of a cut prompt are those of a whole text
    too, and the model has seen their like.

    Raises:
        ValueError: the template alone has more than `max_tokens`.
        UnwritableText: a special token stands in the problem's text.
    """
    codec, (head, tail) = template.codec, template.around(problem)
    body = codec.plain(problem.prompt.strip())
    text = head + body + tail
    pieces = codec.encode(text)
    starts = [start - len(head) for start in pieces.starts if len(head) <= start < len(head) + len(body)]
    room = max_tokens - len(template.bos)
    left_out = 0
    while (over := len(pieces.ids) - room) > 0:
        # So many tokens of the body are too many; cut at another place, a text may need one or two more.
        left_out += over
        part = _shortened(body, starts, left_out, template.form.prompt_keep)
        if part in ("", _GAP):
            raise ValueError(
                f"max_prompt_tokens {max_tokens} leaves no room for the problem beside the template"
            )
        text = head + part + tail
        pieces = codec.encode(text)
    return EncodedPrompt(problem, (*template.bos, *pieces.ids), left_out > 0, text)


def _shortened(body: str, starts: Sequence[int], left_out: int, keep: Keep) -> str:
    """A text without so many of its tokens, which begin at `starts`."""
    kept = max(0, len(starts) - left_out)
    before = {"end": 0, "front": kept, "both": kept // 2}[keep]
    behind = min(before + left_out, len(starts))
    # A character of several tokens is left out whole: what is kept begins with a token that begins one.
    while 0 < behind < len(starts) and starts[behind] == starts[behind - 1]:
        behind += 1
    front = body[: starts[before]] if before else ""
    end = body[starts[behind] :] if behind < len(starts) else ""
    return front + (_GAP if keep == "both" else "") + end


def _agree(name: str, value: object, recorded: PromptForm, template: str) -> bool:
    """Whether a setting may stand beside the record."""
    known = getattr(recorded, name)
    if name == "prompt" and template:
        return True  # the text decides: a file may have moved
    if name == "stop" and not known:
        return True  # a model that never had to stop at a text may begin to
    return known == value


def _read(file: Path) -> str:
    """The text of a template file."""
    if not file.is_file():
        raise ModelError(f"--prompt {file}: neither auto, chat, study or plain nor a file with a template")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"--prompt {file}: not a text file in UTF-8") from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids (B, P) and mask (B, P) of prompts of different lengths, padded on the left."""
    width = max(len(ids) for ids in prompts)
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = True
    return ids, mask
