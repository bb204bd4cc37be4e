"""One encoding of a problem, the sampler of problems, and padding."""

from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppo_helpers import prompts_of, seeds
from tokenizer_zoo import KINDS, POSTS, make, with_chat

from data import Problem, TestCase, render, render_parts
from data.prompts import INSTRUCTION
from models.errors import ModelError
from models.template import PromptForm, form_from
from models.tokens import TextCodec
from ppo.prompts import (
    CHAT_FUNCTION,
    CHAT_INSTRUCTION,
    PromptConfig,
    PromptTemplate,
    choose_form,
    encode_prompt,
    pad_left,
)
from ppo.run.sampler import PromptSampler, derived_seed


def problem(text: str) -> Problem:
    return Problem("p", text, (TestCase("", ""),))


STUDY = PromptForm(
    "study", "", "", INSTRUCTION, "end", (), "Write a Python program that defines {name}.\n{problem}"
)


def study(tokenizer, **changes) -> PromptTemplate:
    """The study's template in the words of a tokenizer."""
    return PromptTemplate(TextCodec(tokenizer), replace(STUDY, **changes))


def test_a_short_prompt_is_the_rendered_text(tokenizer):
    """Trap A21: the ids are those of `render`, the one template."""
    encoded = encode_prompt(study(tokenizer), problem("abab"), 500)
    assert encoded.text == render(problem("abab")) and not encoded.truncated
    assert encoded.ids == tuple(tokenizer(encoded.text).input_ids)


@pytest.mark.parametrize("limit", [200, 500, 1499])
def test_a_long_prompt_keeps_template_and_end(tokenizer, limit):
    """Trap A7: of 1,500 tokens of text exactly `limit` ids remain: head, the end of the text, tail."""
    text = "".join(chr(ord("A") + i % 26) for i in range(1500))
    encoded = encode_prompt(study(tokenizer), problem(text), limit)
    head, body, tail = render_parts(problem(text))
    shown = tokenizer.decode(encoded.ids)
    assert encoded.truncated and len(encoded.ids) == limit and shown == encoded.text
    assert shown.startswith(head) and shown.endswith(tail)
    kept = shown[len(head) : -len(tail)]
    assert len(kept) > 50 and body.endswith(kept)


LONG = "Given é numbers,  print    their sum.\n\tA sum of none is 0. 日本語 <s></s>\n\n" * 40


@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_prompt_is_a_prompt_of_the_text_that_is_left(kind, post):
    """No token is there but those of head, the end of the text and tail, read as one; BOS once, EOS never."""
    text = LONG.replace("<s></s>", "") if kind == "unigram" else LONG
    tokenizer, template = make(kind, post), study(make(kind, post))
    codec = template.codec
    head, body, tail = render_parts(problem(text))
    whole = encode_prompt(template, problem(text), 100_000)
    assert not whole.truncated and whole.text == head + body + tail
    for limit in (130, 200, 333):
        encoded = encode_prompt(template, problem(text), limit)
        kept = encoded.text[len(head) : -len(tail)]
        assert encoded.truncated and encoded.text == head + kept + tail
        assert body.endswith(kept) and 20 < len(kept) < len(body)
        assert limit - 8 <= len(encoded.ids) <= limit
        assert encoded.ids == (*codec.bos, *codec.encode(encoded.text).ids)
        assert not set(encoded.ids[len(codec.bos) :]) & set(tokenizer.all_special_ids)


@given(st.text(max_size=300), st.integers(30, 120))
def test_cutting_keeps_as_much_as_fits(tokenizer, text, limit):
    """One more token of the text in front would be too many, wherever the cut falls."""
    template = study(tokenizer)
    codec = template.codec
    head, body, tail = render_parts(problem("é" + text + "|"))
    try:
        encoded = encode_prompt(template, problem("é" + text + "|"), limit)
    except ValueError:
        assert len(codec.encode(head + body[-1:] + tail).ids) > limit
        return
    kept = encoded.text[len(head) : -len(tail)]
    assert body.endswith(kept) and kept and len(encoded.ids) <= limit
    if encoded.truncated:
        longer = head + body[-len(kept) - 4 :] + tail
        assert len(codec.encode(longer).ids) > limit or longer == head + body + tail


def test_a_prompt_of_exactly_the_limit_is_whole(tokenizer):
    """The limit is inclusive."""
    codec = study(tokenizer)
    whole = encode_prompt(codec, problem("xyz"), 10_000)
    assert encode_prompt(codec, problem("xyz"), len(whole.ids)) == whole
    assert encode_prompt(codec, problem("xyz"), len(whole.ids) - 1).truncated


def test_a_limit_below_the_template_is_an_error(tokenizer):
    """A prompt without a word of its problem is none."""
    template = len(tokenizer(render(problem(""))).input_ids)
    for limit in (1, template - 5, template):
        with pytest.raises(ValueError, match="max_prompt_tokens"):
            encode_prompt(study(tokenizer), problem("abc def"), limit)


@pytest.mark.parametrize("keep", ["end", "front", "both"])
@given(text=st.text(max_size=300), limit=st.integers(30, 120))
def test_what_is_kept_of_a_long_problem(tokenizer, keep, text, limit):
    """Its end, its front, or both with a mark between; the template always, and as much as fits."""
    template = study(tokenizer, prompt_keep=keep, instruction="{problem}")
    try:
        encoded = encode_prompt(template, problem(text), limit)
    except ValueError:
        return
    head, tail, body = template.head, template.tail, text.strip()
    kept = encoded.text[len(head) : -len(tail)]
    assert encoded.text == head + kept + tail and len(encoded.ids) <= limit
    if not encoded.truncated:
        assert kept == body
    elif keep == "both":
        places = [i for i in range(len(kept)) if kept.startswith("\n...\n", i)]
        assert any(body.startswith(kept[:i]) and body.endswith(kept[i + 5 :]) for i in places)
    else:
        assert body.endswith(kept) if keep == "end" else body.startswith(kept)
        assert 0 < len(kept) < len(body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chat_prompt_is_what_the_tokenizer_makes_of_it(kind):
    """Token by token, no second BOS; but special tokens in a problem's text stay text."""
    tokenizer = with_chat(make(kind, "both"))
    form = choose_form(PromptConfig(system="Be brief."), None, tokenizer, "m")
    template = PromptTemplate(TextCodec(tokenizer), form)
    for text in ("Read n.\n\n  Print é.", "x", "    y"):
        user = CHAT_INSTRUCTION.replace("{problem}", text.strip())
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": user}]
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert encode_prompt(template, problem(text), 999).ids == tuple(expected)
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    encoded = encode_prompt(template, problem("Print <|im_end|> twice."), 999)
    assert encoded.ids.count(turn) == expected.count(turn) == 2 and template.end == turn
    assert "Print <|im_end|> twice." in tokenizer.decode(encoded.ids)
    answer = template.codec.follow(encoded.text, "print('<|im_end|>')")
    assert template.codec.decode(answer) == "print('<|im_end|>')" and turn not in answer


@pytest.mark.parametrize(
    "kind", ["byte-level, prefix space", "llama legacy", "metaspace always", "metaspace first"]
)
@pytest.mark.parametrize("program", ["print(1)", " x", "    if x:", "\n\ny"])
def test_an_answer_right_behind_a_special_token(kind, program):
    """Where a tokenizer puts a space of its own there, the program does not get it."""
    turn = "{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>"
    tokenizer = with_chat(make(kind), turn)
    template = PromptTemplate(TextCodec(tokenizer), choose_form(PromptConfig(), None, tokenizer, "m"))
    encoded = encode_prompt(template, problem("Print 1."), 999)
    assert encoded.ids[-1] == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert template.codec.decode(template.codec.follow(encoded.text, program)) == program


def function(text: str, name: str = "add") -> Problem:
    return Problem("p", text, (TestCase("[1]", "1"),), compare="json", entry_point=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["add", "Solution.add"])
def test_where_a_function_is_asked_for_the_instruction_names_it(kind, name):
    """In the same template, token by token; a problem beside it is asked as before."""
    tokenizer = with_chat(make(kind, "both"))
    template = PromptTemplate(TextCodec(tokenizer), choose_form(PromptConfig(), None, tokenizer, "m"))
    user = CHAT_FUNCTION.replace("{name}", name).replace("{problem}", "Add two numbers.")
    assert name in user and "{" not in user
    messages = [{"role": "user", "content": user}]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode_prompt(template, function("Add two numbers.", name), 999).ids == tuple(expected)
    assert encode_prompt(template, problem("x"), 999).text.count(CHAT_INSTRUCTION.partition("\n")[0]) == 1


def test_the_instruction_for_functions_is_a_setting_and_is_recorded(tokenizer):
    form = choose_form(
        PromptConfig("plain", function_instruction="Def {name}: {problem}!"), None, tokenizer, "m"
    )
    template = PromptTemplate(TextCodec(tokenizer), form)
    assert encode_prompt(template, function("abc"), 99).text == "Def add: abc!\n"
    assert encode_prompt(template, problem("abc"), 99).text == "abc\n"
    assert choose_form(PromptConfig(), form, tokenizer, "m") == form
    with pytest.raises(ModelError, match=r"with function_instruction .* leave --function-instruction out"):
        choose_form(PromptConfig(function_instruction="{problem}"), form, tokenizer, "m")
    with pytest.raises(ValueError, match="function_instruction must hold"):
        PromptConfig(function_instruction="no place")


def test_a_record_of_before_asks_for_functions_as_its_kind_does(tokenizer):
    old = form_from({key: value for key, value in asdict(STUDY).items() if key != "function_instruction"})
    assert old.function_instruction is None
    assert choose_form(PromptConfig(), old, tokenizer, "m") == STUDY
    asked = choose_form(PromptConfig(function_instruction="{problem}"), old, tokenizer, "m")
    assert asked.function_instruction == "{problem}"


def test_a_stub_is_read_as_it_stands_by_a_model_that_completes_it(tokenizer):
    """HumanEval under `plain`: the answer goes on behind the docstring, on a line of its own."""
    stub = 'def add(a, b):\n    """Their sum."""\n'
    template = study(tokenizer, prompt="plain", instruction="{problem}", function_instruction="{problem}")
    assert encode_prompt(template, function(f"\n\n{stub}"), 99).text == stub


def test_bos_is_there_once():
    """By the tokenizer, or by a template that writes it."""
    tokenizer = make("byte-level", "bos")
    bos = tokenizer.bos_token_id
    for source in ("{{ problem }}", "{{ bos_token }}{{ problem }}"):
        template = study(tokenizer, prompt="f", template=source, instruction="{problem}")
        assert encode_prompt(template, problem("x"), 9).ids == tuple(tokenizer("x").input_ids)
    assert tokenizer("x").input_ids[0] == bos
    plain = study(tokenizer, prompt="plain", instruction="{problem}")
    assert encode_prompt(plain, problem(" x "), 9).text == "x\n"


def test_auto_is_the_chat_template_where_there_is_one(tokenizer):
    """And the words that go with it: a program that reads and prints; else the study's."""
    chat = choose_form(PromptConfig(), None, with_chat(make("qwen")), "m")
    assert chat == PromptForm("chat", "", "", CHAT_INSTRUCTION, "end", (), CHAT_FUNCTION)
    assert choose_form(PromptConfig(), None, tokenizer, "m") == STUDY
    assert choose_form(PromptConfig("study"), None, with_chat(make("qwen")), "m") == STUDY
    assert choose_form(PromptConfig("plain", stop=("x",)), None, tokenizer, "m").stop == ("x",)


def test_what_was_recorded_holds(tokenizer, tmp_path):
    """Settings left alone follow it; others are an error that names both."""
    file = tmp_path / "t.jinja"
    file.write_text("Q {{ problem }}")
    recorded = choose_form(PromptConfig(str(file), "s", "A {problem}", "both", ("#",)), None, tokenizer, "m")
    assert recorded.template == "Q {{ problem }}" and recorded.prompt == str(file)
    assert choose_form(PromptConfig(), recorded, tokenizer, "m") == recorded
    moved = tmp_path / "moved.jinja"
    moved.write_text("Q {{ problem }}")
    assert choose_form(PromptConfig(str(moved)), recorded, tokenizer, "m").template == recorded.template
    file.write_text("other {{ problem }}")
    for config, words in {
        PromptConfig("chat"): (str(file), "'chat'", "leave --prompt out"),
        PromptConfig(str(file)): (str(file), "with another text"),
        PromptConfig(system="t"): ("system 's', not 't'",),
        PromptConfig(system=""): ("system 's', not ''",),
        PromptConfig(instruction="{problem}"): ("'A {problem}', not '{problem}'",),
        PromptConfig(prompt_keep="end"): ("'both', not 'end'", "leave --prompt-keep out"),
        PromptConfig(stop=("##",)): ("('#',), not ('##',)",),
    }.items():
        with pytest.raises(ModelError) as error:
            choose_form(config, recorded, tokenizer, "runs/sft")
        assert all(word in str(error.value) for word in ("runs/sft", *words)), str(error.value)
    assert choose_form(PromptConfig(stop=("#",)), STUDY, tokenizer, "m") == replace(STUDY, stop=("#",))


def test_settings_of_prompts_that_cannot_work(tokenizer, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for config, message in {
        PromptConfig("nowhere.jinja"): "nowhere.jinja: neither auto, chat",
        PromptConfig(str(tmp_path)): "neither auto, chat",
        PromptConfig(str(tmp_path / "binary")): "not a text file",
        PromptConfig(system="s"): "goes with a chat template",
    }.items():
        with pytest.raises(ModelError, match=message):
            choose_form(config, None, tokenizer, "m")
    with pytest.raises(ModelError, match="no chat template"):
        PromptTemplate(TextCodec(tokenizer), choose_form(PromptConfig("chat"), None, tokenizer, "m"))
    for wrong in ({"instruction": "no place"}, {"instruction": "{problem}{problem}"}, {"stop": ("a", "")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PromptConfig(**wrong)


def test_pad_left():
    """Check 3: padding stands before the prompt and is False in the mask."""
    ids, mask = pad_left([(5, 6), (7,), (8, 9, 10)], pad_id=0)
    assert ids.tolist() == [[0, 5, 6], [0, 0, 7], [8, 9, 10]]
    assert mask.tolist() == [[False, True, True], [False, False, True], [True, True, True]]


@given(st.integers(1, 9), seeds, st.lists(st.integers(0, 12), max_size=6))
def test_sampler_takes_every_problem_once_per_pass(count, seed, takes):
    """Whatever the sizes of the draws, each pass is a permutation of all problems."""
    sampler = PromptSampler(range(count), seed)  # type: ignore[arg-type]
    drawn = [item for size in takes for item in sampler.take(size)]
    drawn += sampler.take(-len(drawn) % count)
    for start in range(0, len(drawn), count):
        assert sorted(drawn[start : start + count]) == list(range(count))


@given(st.integers(1, 9), seeds, st.integers(0, 30), st.integers(1, 20))
def test_sampler_goes_on_from_its_number_alone(count, seed, before, after):
    """Check 29: a new sampler told how many were drawn continues like the old one."""
    straight, resumed = (PromptSampler(range(count), seed) for _ in range(2))  # type: ignore[arg-type]
    straight.take(before)
    resumed.drawn = before
    assert resumed.take(after) == straight.take(after)


def test_passes_and_seeds_differ(tokenizer):
    """The order changes from pass to pass and from seed to seed."""
    prompts = prompts_of(tokenizer, [str(i) for i in range(30)])
    sampler = PromptSampler(prompts, 1)
    orders = [[p.problem.id for p in sampler.take(30)] for _ in range(3)]
    orders.append([p.problem.id for p in PromptSampler(prompts, 2).take(30)])
    assert len({tuple(order) for order in orders}) == 4


def test_no_problems_is_an_error():
    """An empty sampler would never come back from `take`."""
    with pytest.raises(ValueError, match="no problem"):
        PromptSampler([], 1)


def test_derived_seeds_depend_on_all_three():
    """Seed, number and purpose: 300 combinations, 300 seeds, all of them ones that torch takes."""
    found = {derived_seed(s, n, p) for s in range(10) for n in range(10) for p in ("a", "b", "1/a")}
    assert len(found) == 300
    torch.Generator().manual_seed(max(found))
