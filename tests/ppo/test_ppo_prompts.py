"""One encoding of a problem, the sampler of problems, and padding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppo_helpers import prompts_of, seeds

from data import Problem, TestCase, render, render_parts
from ppo.prompts import encode_prompt, pad_left
from ppo.run.sampler import PromptSampler, derived_seed


def problem(text: str) -> Problem:
    return Problem("p", text, (TestCase("", ""),))


def test_a_short_prompt_is_the_rendered_text(tokenizer):
    """Trap A21: the ids are those of `render`, the one template."""
    encoded = encode_prompt(tokenizer, problem("abab"), 500)
    assert encoded.ids == tuple(tokenizer(render(problem("abab"))).input_ids) and not encoded.truncated


@pytest.mark.parametrize("limit", [200, 500, 1499])
def test_a_long_prompt_keeps_template_and_end(tokenizer, limit):
    """Trap A7: of 1,500 tokens of text exactly `limit` ids remain: head, the end of the text, tail."""
    text = "".join(chr(ord("A") + i % 26) for i in range(1500))
    encoded = encode_prompt(tokenizer, problem(text), limit)
    head, body, tail = render_parts(problem(text))
    shown = tokenizer.decode(encoded.ids)
    assert encoded.truncated and len(encoded.ids) == limit
    assert shown.startswith(head) and shown.endswith(tail)
    kept = shown[len(head) : -len(tail)]
    assert len(kept) > 50 and body.endswith(kept)


def test_a_prompt_of_exactly_the_limit_is_whole(tokenizer):
    """The limit is inclusive."""
    whole = encode_prompt(tokenizer, problem("xyz"), 10_000)
    assert encode_prompt(tokenizer, problem("xyz"), len(whole.ids)) == whole
    assert encode_prompt(tokenizer, problem("xyz"), len(whole.ids) - 1).truncated


def test_a_limit_below_the_template_is_an_error(tokenizer):
    """A prompt without a word of its problem is none."""
    template = len(tokenizer(render(problem(""))).input_ids)
    with pytest.raises(ValueError, match="max_prompt_tokens"):
        encode_prompt(tokenizer, problem("abc def"), template)


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
