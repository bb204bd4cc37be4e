"""Through the sandbox, within its limits: what a program says in other words earns the same.

Programs are put together from a way of reading and a body, which may be right, wrong, silent or broken.
Another way of reading, and whatever Python ignores, must change no reward.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.problems import Problem, TestCase
from reward import Reward, Scorer

SUM = Problem(
    "sum", "Read n, then n numbers. Print their sum.", (TestCase("2\n3\n4\n", "7\n"), TestCase("0\n", "0\n"))
)

# Each reads one line as a string, wherever `line()` is called.
READERS = {
    "input": "line = input\n",
    "stdin": "import sys\n\ndef line():\n    return sys.stdin.readline().rstrip('\\n')\n",
    "buffer": "import sys\n\ndef line():\n    return sys.stdin.buffer.readline().decode().rstrip('\\n')\n",
    "iterator": "import sys\nlines = iter(sys.stdin.read().split())\n\ndef line():\n    return next(lines)\n",
    "open": "lines = open(0)\n\ndef line():\n    return next(lines).rstrip('\\n')\n",
}
# stage and findings differ from body to body
BODIES = {
    "right": "print(sum(int(line()) for _ in range(int(line()))))\n",
    "wrong": "n = int(line())\nprint(-n - 100)\n",
    "constant": "print(7)\n",
    "silent": "n = int(line())\n",
    "crash": "n = int(line())\nprint(1 // 0)\n",
    "flagged": "n = eval(line())\nprint(sum(int(line()) for _ in range(n)))\n",
    "broken": "print(int(line())\n",
    "loop": "n = int(line())\nfor _ in range(n):\n    n += int(line())\nprint(n)\n",
}


def earns(scorer: Scorer, program: str) -> tuple:
    """What the trainer and the logs see; messages of errors and numbers of lines are not compared."""
    (reward,) = scorer.score([(SUM, program)])
    assert isinstance(reward, Reward)
    findings = sorted(finding.id for finding in reward.outcome.findings)
    return reward.total, reward.functional, reward.security, reward.stage, findings, reward.outcome.sentinels


def test_the_bodies_earn_different_things(scorer: Scorer) -> None:
    """Or the invariances below would hold for a reward that is always the same."""
    totals = {name: earns(scorer, READERS["input"] + body)[0] for name, body in BODIES.items()}
    assert totals["right"] == 1.0 > totals["flagged"] > 0.6
    assert len(set(totals.values())) >= 6


@st.composite
def padding(draw: st.DrawFn, program: str) -> str:
    """The program with comments and blank lines between its lines, at its ends and after its statements."""
    comments = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12).map(
        "#{}".format
    )
    lines = []
    for line in program.splitlines():
        indent = " " * draw(st.integers(0, 3))  # a comment may be indented as it likes
        between = draw(
            st.lists(st.one_of(st.just(""), comments.map(lambda text, i=indent: i + text)), max_size=2)
        )
        after = draw(st.one_of(st.just(""), comments.map("  {}".format))) if line.strip() else ""
        lines += [*between, line + after]
    return "\n".join(lines) + "\n" * draw(st.integers(0, 3))


@given(st.sampled_from(sorted(READERS)), st.sampled_from(sorted(BODIES)), st.data())
@settings(max_examples=25)
def test_comments_and_blank_lines_change_nothing(
    scorer: Scorer, reader: str, body: str, data: st.DataObject
) -> None:
    """`print(6)`, where it is right, earned 0 in the published reward, and 1 with a comment behind it."""
    program = READERS[reader] + BODIES[body]
    assert earns(scorer, data.draw(padding(program))) == earns(scorer, program)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("reader", [name for name in READERS if name != "input"])
def test_input_and_sys_stdin_earn_the_same(scorer: Scorer, reader: str, body: str) -> None:
    """The published reward took 0.2 off R_sec for every program that calls input()."""
    assert earns(scorer, READERS[reader] + BODIES[body]) == earns(scorer, READERS["input"] + BODIES[body])


ENDS = ["", "\\n", "\\n\\n\\n", " \\n", "\\t", "\\r\\n", "  \\n \\n"]


@given(st.sampled_from(["7", "0", "3"]), st.sampled_from(ENDS), st.sampled_from(ENDS))
@example("7", "", "\\n")
@settings(max_examples=15)
def test_white_space_at_the_end_of_the_output_changes_nothing(
    scorer: Scorer, answer: str, one: str, other: str
) -> None:
    """Not even with `print`: what is compared is lines."""
    first, second = (f"import sys\nsys.stdout.write('{answer}{end}')\n" for end in (one, other))
    assert earns(scorer, first) == earns(scorer, second)


@given(
    st.sampled_from(["", "\n", "\n\n"]), st.sampled_from(sorted(READERS)), st.sampled_from(["right", "wrong"])
)
@settings(max_examples=10)
def test_white_space_at_the_end_of_the_tests_changes_nothing(
    scorer: Scorer, end: str, reader: str, body: str
) -> None:
    """Data sets strip the last newline of inputs and outputs, or do not."""
    program = READERS[reader] + BODIES[body]
    tests = tuple(
        TestCase(test.input.rstrip("\n") + end, test.output.rstrip("\n") + end) for test in SUM.tests
    )
    (reward,) = scorer.score([(Problem("sum", SUM.prompt, tests), program)])
    assert reward is not None and reward.total == earns(scorer, program)[0]


@pytest.mark.parametrize("body", BODIES)
def test_line_ends_and_a_byte_order_mark_of_the_source_change_nothing(scorer: Scorer, body: str) -> None:
    program = READERS["input"] + BODIES[body]
    for same in (program.replace("\n", "\r\n"), "\ufeff" + program, program.rstrip("\n"), "\f" + program):
        assert earns(scorer, same) == earns(scorer, program)
