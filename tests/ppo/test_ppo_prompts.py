"""One encoding of a problem, the sampler of problems, and padding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppo_helpers import prompts_of, seeds
from tokenizer_zoo import KINDS, POSTS, make

from data import Problem, TestCase, render, render_parts
from models.tokens import TextCodec
from ppo.prompts import encode_prompt, pad_left
from ppo.run.sampler import PromptSampler, derived_seed


def problem(text: str) -> Problem:
    return Problem("p", text, (TestCase("", ""),))


def test_a_short_prompt_is_the_rendered_text(tokenizer):
    """Trap A21: the ids are those of `render`, the one template."""
    encoded = encode_prompt(TextCodec(tokenizer), problem("abab"), 500)
    assert encoded.text == render(problem("abab")) and not encoded.truncated
    assert encoded.ids == tuple(tokenizer(encoded.text).input_ids)


@pytest.mark.parametrize("limit", [200, 500, 1499])
def test_a_long_prompt_keeps_template_and_end(tokenizer, limit):
    """Trap A7: of 1,500 tokens of text exactly `limit` ids remain: head, the end of the text, tail."""
    text = "".join(chr(ord("A") + i % 26) for i in range(1500))
    encoded = encode_prompt(TextCodec(tokenizer), problem(text), limit)
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
    tokenizer, codec = make(kind, post), TextCodec(make(kind, post))
    head, body, tail = render_parts(problem(text))
    whole = encode_prompt(codec, problem(text), 100_000)
    assert not whole.truncated and whole.text == head + body + tail
    for limit in (130, 200, 333):
        encoded = encode_prompt(codec, problem(text), limit)
        kept = encoded.text[len(head) : -len(tail)]
        assert encoded.truncated and encoded.text == head + kept + tail
        assert body.endswith(kept) and 20 < len(kept) < len(body)
        assert limit - 8 <= len(encoded.ids) <= limit
        assert encoded.ids == (*codec.bos, *codec.encode(encoded.text).ids)
        assert not set(encoded.ids[len(codec.bos) :]) & set(tokenizer.all_special_ids)


@given(st.text(max_size=300), st.integers(30, 120))
def test_cutting_keeps_as_much_as_fits(tokenizer, text, limit):
    """One more token of the text in front would be too many, wherever the cut falls."""
    codec = TextCodec(tokenizer)
    head, body, tail = render_parts(problem("é" + text + "|"))
    try:
        encoded = encode_prompt(codec, problem("é" + text + "|"), limit)
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
    codec = TextCodec(tokenizer)
    whole = encode_prompt(codec, problem("xyz"), 10_000)
    assert encode_prompt(codec, problem("xyz"), len(whole.ids)) == whole
    assert encode_prompt(codec, problem("xyz"), len(whole.ids) - 1).truncated


def test_a_limit_below_the_template_is_an_error(tokenizer):
    """A prompt without a word of its problem is none."""
    template = len(tokenizer(render(problem(""))).input_ids)
    for limit in (1, template - 5, template):
        with pytest.raises(ValueError, match="max_prompt_tokens"):
            encode_prompt(TextCodec(tokenizer), problem("abc def"), limit)


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
