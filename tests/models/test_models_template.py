"""Chat templates and templates from files: what they put around a problem, and what they may not do."""

import json
from dataclasses import asdict, replace
from datetime import datetime

import pytest
import transformers.utils.chat_template_utils
from tokenizer_zoo import BOS, CHAT, KINDS, make, with_chat

from models.errors import ModelError
from models.template import RECORD, PromptForm, read_form, wrap, write_form

FORM = PromptForm("chat", "", "", "Solve this.\n{problem}", "end", ())
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT


def test_head_and_tail_are_what_the_template_writes():
    tokenizer = with_chat(make("qwen"))
    assert wrap(FORM, tokenizer) == (
        "<|im_start|>user\nSolve this.\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    )
    head, _ = wrap(replace(FORM, system="Be brief."), tokenizer)
    assert head == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nSolve this.\n"


def test_a_file_sees_messages_problem_and_system():
    tokenizer = make("byte-level", "bos")
    source = "{{ bos_token }}[{{ system }}] Q: {{ problem }}\n{% if add_generation_prompt %}A:{% endif %}\n"
    form = replace(FORM, prompt="f.jinja", template=source, system="s")
    assert wrap(form, tokenizer) == (f"{BOS}[s] Q: Solve this.\n", "\nA:")
    loop = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert wrap(replace(form, template=loop), tokenizer) == ("system: s\nuser: Solve this.\n", "\n")


class NextYear(datetime):
    """A clock."""

    @classmethod
    def now(cls, tz=None):
        return cls(2031, 2, 9, 14, 30)


# As Llama 3.2 and SmolLM3 write it; in a macro and in a block, after white space that Jinja strips.
DATED = (
    "  {% if strftime_now is defined %}\n{{ strftime_now('%d %B %Y') }}\n  {% endif %}\n"
    "{% macro today() %}{{ strftime_now('%Y-%-m-%-d, %A') | upper }}{% endmacro %}"
    "{% for m in messages %}{{ m.content }}{{ today() }}{{ strftime_now('%Y') | int + 1 }}{% endfor %}"
)


@pytest.mark.parametrize("from_file", [False, True])
def test_a_template_writes_the_recorded_day_whatever_the_clock_says(monkeypatch, from_file):
    form = replace(FORM, prompt="f.jinja", template=DATED) if from_file else FORM
    tokenizer = with_chat(make("byte-level"), None if from_file else DATED)
    today = wrap(form, tokenizer)
    assert today == ("01 January 2025\nSolve this.\n", "2025-1-1, WEDNESDAY2026")
    monkeypatch.setattr(transformers.utils.chat_template_utils, "datetime", NextYear)
    assert wrap(form, tokenizer) == today
    assert wrap(replace(form, date="2024-12-31"), tokenizer) == (
        "31 December 2024\nSolve this.\n",
        "2024-12-31, TUESDAY2025",
    )


def test_days_are_written_as_the_clock_would_write_them(monkeypatch):
    """By transformers on that day: every directive, and what stands around it."""
    monkeypatch.setattr(transformers.utils.chat_template_utils, "datetime", NextYear)
    letters = "aAbBdDeFgGhjmuUVwWxyYzZ"  # those of a day; the time is midnight
    form = " ".join(f"%{letter} %-{letter}" for letter in letters)
    tokenizer = with_chat(
        make("byte-level"), "\n {{ strftime_now('" + form + "') }}{{ messages[0].content }}"
    )
    expected = tokenizer.apply_chat_template([{"role": "user", "content": "Solve this.\n"}], tokenize=False)
    assert wrap(replace(FORM, date="2031-02-09"), tokenizer)[0] == expected


REFUSED = {
    "no chat template": ("", FORM),
    "has to hold the problem once, not 0 times": ("{{ 'hello' }}", FORM),
    "has to hold the problem once, not 2 times": ("{{ messages[0].content * 2 }}", FORM),
    "changes the text of a problem": ("{{ messages[0].content | tojson }}", FORM),
    "changes the text": ("{{ messages[0].content | upper }}", FORM),
    "cannot be rendered": ("{% for %}", FORM),
    "cannot be rendered: 'nothing' is undefined": ("{{ nothing.at.all }}", FORM),
    "takes no system message": (NO_SYSTEM, replace(FORM, system="Be brief.")),
    "leaves the system message out": ("{{ messages[-1].content }}", replace(FORM, system="Be brief.")),
}


@pytest.mark.parametrize("message", REFUSED)
def test_templates_that_cannot_be_used(message):
    """One line that says why, for a chat template and for a file."""
    template, form = REFUSED[message]
    forms = [form, replace(form, prompt="f.jinja", template=template)] if template else [form]
    for each in forms:
        tokenizer = with_chat(make("byte-level"), template if not each.template else None)
        with pytest.raises(ModelError, match=message) as error:
            wrap(each, tokenizer)
        assert "\n" not in str(error.value)
        assert not each.template or "f.jinja" in str(error.value)


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% set _ = messages.append(1) %}{{ messages[0].content }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% for i in range(10 ** 9) %}{{ i }}{% endfor %}",
    ],
)
def test_a_template_is_rendered_in_a_sandbox(attack):
    """A file from somewhere else runs no code here, changes nothing, and does not loop for ever."""
    with pytest.raises(ModelError, match="cannot be rendered"):
        wrap(replace(FORM, prompt="f.jinja", template=attack), make("byte-level"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded_is_read_again(tmp_path, kind):
    form = replace(FORM, prompt=f"{kind}.jinja", template="{{ problem }}é\n", stop=("\n\n", "###"))
    write_form(tmp_path, form)
    assert read_form(tmp_path) == form
    assert json.loads((tmp_path / RECORD).read_text()) == asdict(form) | {"stop": ["\n\n", "###"]}


def test_no_record_and_a_damaged_one(tmp_path):
    assert read_form(tmp_path) is None
    others = [json.dumps(asdict(FORM) | one) for one in ({"other": 1}, {"date": "1 May"}, {"date": None})]
    for content in ("{", "[]", '{"prompt": "chat"}', *others):
        (tmp_path / RECORD).write_text(content)
        with pytest.raises(ModelError, match=RECORD):
            read_form(tmp_path)


def test_a_record_of_before_there_was_a_date(tmp_path):
    content = {name: value for name, value in asdict(FORM).items() if name != "date"}
    (tmp_path / RECORD).write_text(json.dumps(content))
    assert read_form(tmp_path) == FORM
