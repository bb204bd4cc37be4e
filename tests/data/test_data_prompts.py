"""The study's template: one text for SFT, PPO and evaluation."""

from data import Problem, TestCase, render, render_parts


def problem(prompt: str) -> Problem:
    return Problem("p", prompt, (TestCase("", ""),))


def test_a_prompt_is_its_parts_and_leads_into_the_response():
    prompt = render(problem("Print n."))
    assert prompt == "".join(render_parts(problem("Print n.")))
    assert prompt.startswith("### Instruction:\n")
    assert prompt.endswith("\n### Response:\n")
    assert "Print n." in prompt


def test_head_and_tail_do_not_depend_on_the_problem():
    short, long = render_parts(problem("a")), render_parts(problem("b " * 9999))
    assert (short.head, short.tail) == (long.head, long.tail)
