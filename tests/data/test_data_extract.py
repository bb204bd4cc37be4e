"""Extraction: what is cut out is a piece of the text, and nothing bare is ever cut."""

import ast
import json
import string
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from data import extract

CODECONTESTS = Path(__file__).parents[2].parent / "shared" / "data" / "codecontests.jsonl"

FENCE = "```"
PROGRAM = "n = int(input())\nprint(n + 1)\n"


def check_holds(text: str) -> str:
    """The extracted program, after checking what must be true of every extraction."""
    program, offset = extract(text)
    assert text[offset : offset + len(program)] == program
    assert extract(program) == (program, 0)
    return program


# --- tables ---

CUT = {
    "a fence": (f"{FENCE}python\n{PROGRAM}{FENCE}\n", PROGRAM),
    "a fence without language": (f"{FENCE}\n{PROGRAM}{FENCE}", PROGRAM),
    "prose around a fence": (f"Sure:\n\n{FENCE}python\n{PROGRAM}{FENCE}\n\nThis adds 1.", PROGRAM),
    "an unclosed fence": (f"Here:\n{FENCE}py\n{PROGRAM}", PROGRAM),
    "an unclosed fence without language": (f"Here:\n{FENCE}\n{PROGRAM}", PROGRAM),
    "a broken program in a fence": (f"Here:\n{FENCE}python\nprint(1\n{FENCE}\n", "print(1\n"),
    "a closing fence alone": (f"{PROGRAM}{FENCE}\nThis adds 1.", PROGRAM),
    "an example first": (f"Input:\n{FENCE}\n3 4\n{FENCE}\n{FENCE}Python3\n{PROGRAM}{FENCE}", PROGRAM),
    "an example first, no languages": (
        f"Input:\n{FENCE}\n3 4\n{FENCE}\nSo:\n{FENCE}\n{PROGRAM}{FENCE}",
        PROGRAM,
    ),
    "a shell block first": (f"{FENCE}bash\npython a.py\n{FENCE}\n{FENCE}\n{PROGRAM}{FENCE}", PROGRAM),
    "two programs": (f"{FENCE}python\n{PROGRAM}{FENCE}\nor\n{FENCE}python\nprint(2)\n{FENCE}", PROGRAM),
    "fence upon fence": (f"{FENCE}\n{FENCE}python\n{PROGRAM}{FENCE}\n{FENCE}", PROGRAM),
    "CRLF": (f"Sure:\r\n{FENCE}python\r\nprint(1)\r\n{FENCE}\r\n", "print(1)\r\n"),
    "tabs": (f"{FENCE}python\nif 1:\n\tprint(1)\n{FENCE}", "if 1:\n\tprint(1)\n"),
    "multi-byte": (f"Voilà:\n{FENCE}python\nprint('é🙂')\n{FENCE}", "print('é🙂')\n"),
    "sentences around": (f"Here is the program:\n\n{PROGRAM}\nThis prints n plus 1.\n", PROGRAM),
    "a sentence before": (f"Sure, here is the code:\n{PROGRAM}", PROGRAM),
    "a fence with code on its line": (f"{FENCE}n = int(input())\nprint(n)\n", "n = int(input())\nprint(n)\n"),
    "sentences in a fence": (f"{FENCE}\nHere is the program:\n{PROGRAM}{FENCE}", PROGRAM),
}


@pytest.mark.parametrize(("text", "program"), CUT.values(), ids=CUT.keys())
def test_a_program_is_cut_out(text, program):
    assert check_holds(text) == program


KEPT = {
    "nothing": "",
    "a program": PROGRAM,
    "no final newline": PROGRAM.rstrip(),
    "blank lines around": f"\n\n{PROGRAM}\n\n",
    "CRLF": PROGRAM.replace("\n", "\r\n"),
    "a main guard": "def main():\n    print(1)\n\nif __name__ == '__main__':\n    main()\n",
    "output: and note: lines": "print('Output:', 1)  # note: this\n",
    "a fence in a string": f'print("""\n{FENCE}python\nprint(2)\n{FENCE}\n""")\n',
    "a docstring of prose": '"""Here is the program:"""\nprint(1)\n',
    "a broken first line": "n = int(input()\nprint(n)\n",
    "a broken last line": "n = int(input())\nprint(n\n",
    "a broken middle": "n = int(input())\nif n >\nprint(n)\n",
    "a capital slip": "For i in range(3):\nprint(1)\n",
    "another capital slip": "Print the n.\nprint(1)\n",
    "a slip in an import": "improt sys\nprint(int(input()) + 1)\n",
    "a slip in a longer import": "form math import sqrt as s\nprint(s(int(input())))\n",
    "a slip in a branch": "n = int(input())\nelseif n is not None and True:\nprint(n)\n",
    "a slip in a loop": "wihle n < 3\nprint(int(input()))\n",
    "no equals sign": "n int(input())\nprint(n)\n",
    "an annotation that is broken": "A: int = int(input()\nprint(A)\n",
    "a bracket too many": "print(input())\nprint(int(input()) + 1))\n",
    "a print of Python 2": "n = int(input())\nprint n\n",
    "prose alone": "Here is the program: it prints n plus 1.",
    "prose and a broken program": "Here is the program:\nprint(1\n",
    "prose and a word": "Here is the program:\nhello\n",
    "a body alone": "    n = int(input())\n    print(n)\n",
    "indented too far": f"  {PROGRAM}",
    "a stray fence after a broken program": f"print(1\n{FENCE}\nDone\n",
    "nothing in the fence": f"{FENCE}python\n{FENCE}",
    "nothing in any fence": f"{FENCE}\n{FENCE}\n{FENCE}\n{FENCE}",
    "white space in a fence": f"{FENCE}python\n  \n\n{FENCE}\nDone.",
    "an ideographic space": "\u3000\nprint(1)\n",
    "a null byte": "print(1)\n\0",
    "half a surrogate": "print('\ud800')\n",
    "brackets without end": "(" * 5000,
    "a sum without end": "1" + "+1" * 50_000,
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT.keys())
def test_a_bare_program_comes_back_as_it_is(text):
    assert extract(text) == (text, 0)


@pytest.mark.skipif(not CODECONTESTS.exists(), reason="the CodeContests sample is not here")
def test_real_programs_survive_bare_and_come_out_of_a_fence():
    for line in CODECONTESTS.read_text(encoding="utf-8").splitlines():
        for program in json.loads(line)["solutions"]:
            assert extract(program) == (program, 0)
            ended = program if program.endswith("\n") else program + "\n"
            assert check_holds(f"Here is the code:\n\n{FENCE}python\n{ended}{FENCE}\nIt works.\n") == ended


# --- properties ---

names = st.text(string.ascii_lowercase, min_size=1, max_size=3).map(lambda name: f"v_{name}")
literals = st.integers().map(str) | st.text(max_size=8).map(repr)
assignments = st.builds("{} = {}".format, names, literals)
prints = st.builds("print({}, {})".format, literals, literals)
simple = assignments | prints | st.just("pass")
blocks = st.builds(
    "{}\n{}{}".format, st.sampled_from(["if 1:", "for i in ():", "def f():"]), st.just("\t"), simple
)
comments = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12).map("# {}".format)
programs = st.lists(simple | blocks | comments, min_size=1, max_size=6).map("\n".join)

fences = [FENCE, f"{FENCE}python", f"{FENCE}cpp", f" {FENCE}"]
codes = ["print(1)", "print(1", "    x = 1", "if x:", "'''", "é = 1\r", "\t", "n = int(input())", "return 1"]
lines = st.sampled_from([*fences, *codes, "Here is the code:", "It works.", ""])
valid = [
    f"'''\nHere is the code:\n{FENCE}python\nprint(2)\n{FENCE}\n'''",
    f"# {FENCE}",
    "print(1)",
    "",
    "\t",
    "x = 1\r",
    "Yes",
]
responses = st.lists(lines | st.text(max_size=12), max_size=8).map("\n".join)


def parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


@given(programs)
@settings(max_examples=200, deadline=None)
def test_every_valid_program_is_its_own_extraction(program):
    assume(parses(program))
    assert extract(program) == (program, 0)
    assert extract(program.replace("\n", "\r\n")) == (program.replace("\n", "\r\n"), 0)


@given(st.lists(st.sampled_from(valid), max_size=8).map("\n".join))
@settings(max_examples=100, deadline=None)
def test_whatever_parses_is_its_own_extraction(text):
    assert parses(text)
    assert extract(text) == (text, 0)


@given(programs)
@settings(max_examples=100, deadline=None)
def test_a_fenced_program_comes_out_whole(program):
    assume(parses(program))
    assert (
        check_holds(f"Sure, this solves it.\n{FENCE}python\n{program}\n{FENCE}\nThe end.") == program + "\n"
    )


@given(responses)
@example(f"{FENCE}python\n{FENCE}python\n{FENCE}")
@settings(max_examples=300, deadline=None)
def test_any_extraction_is_a_piece_of_the_text_and_final(text):
    check_holds(text)


@given(programs, st.integers(0, 200))
@settings(max_examples=200, deadline=None)
def test_a_program_broken_by_one_lost_character_loses_nothing_more(program, place):
    broken = program[:place] + program[place + 1 :]
    assert extract(broken) == (broken, 0)
