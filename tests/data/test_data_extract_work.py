"""The work of an extraction is linear in the answer, whatever stands in it: what is parsed is counted, and of
all the rest n is compared with 4 n."""

import ast
import time

import pytest

from data import extract

FENCE = "```"
P = "n = int(input())\nprint(n + 1)\n"
SIZE = 20_000

SHAPES = {
    "spaces behind a fence": lambda n: f"{FENCE}{' ' * n}x",
    "spaces behind many fences": lambda n: f"{FENCE}{' ' * 190}x\n" * (n // 195),
    "fences alone": lambda n: f"{FENCE}\n" * (n // 4),
    "fences on one line": lambda n: f"{FENCE} " * (n // 4),
    "opening fences": lambda n: f"{FENCE}python\n" * (n // 10),
    "fences around calls": lambda n: f"{FENCE}\nf()\n" * (n // 8),
    "fences around programs": lambda n: f"{FENCE}python\n{P}{FENCE}\n" * (n // 44),
    "fences around broken programs": lambda n: f"{FENCE}python\n({P}{FENCE}\n" * (n // 45),
    "fences that grow": lambda n: "\n".join("`" * k for k in range(3, int((2 * n) ** 0.5))),
    "fences that shrink": lambda n: "\n".join("`" * k for k in range(int((2 * n) ** 0.5), 3, -1)),
    "backticks": lambda n: "`" * n,
    "backticks with gaps": lambda n: "` " * (n // 2),
    "programs in backticks": lambda n: "`print(input())` " * (n // 17),
    "tildes": lambda n: "~" * n,
    "tilde fences": lambda n: "~~~\n" * (n // 4),
    "titles": lambda n: f'{FENCE}python title="' * (n // 17),
    "braces": lambda n: f"{FENCE}{{" * (n // 4),
    "tags": lambda n: "<code " * (n // 6),
    "python tags": lambda n: "[PYTHON]" * (n // 8) + "?",
    "thinking": lambda n: "<think></think>" * (n // 15),
    "turns": lambda n: "### Instruction:\n" * (n // 17),
    "turns with programs": lambda n: f"(\n### Response:\n{P}" * (n // 49),
    "words": lambda n: "A word " * (n // 7),
    "sentences": lambda n: "This is a sentence.\n" * (n // 20),
    "programs between sentences": lambda n: f"This is a sentence.\n{P}" * (n // 51),
    "a sentence without end": lambda n: "This" + " a" * (n // 2),
    "colons": lambda n: "A b" + " :" * (n // 2),
    "commas": lambda n: "If a" + ",;" * (n // 2),
    "indented fences": lambda n: f"{' ' * 9}{FENCE}\n" * (n // 13),
    "spaces": lambda n: " " * n + "?",
    "lines": lambda n: "\n" * n + "?",
    "brackets": lambda n: "(" * n,
    "pairs": lambda n: "()" * (n // 2) + "?",
    "nulls": lambda n: "\0" * n,
    "letters": lambda n: "a" * n + " b",
    "digits": lambda n: "1" * n + " b",
    "headings": lambda n: "#" * n + "\n?(",
    "stars": lambda n: "*" * n,
    "an item without end": lambda n: "- This" + " is" * (n // 3),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_no_character_is_parsed_more_than_a_few_times(shape, monkeypatch):
    parsed: list[int] = []
    parse = ast.parse

    def counting(text):
        parsed.append(len(text))
        return parse(text)

    monkeypatch.setattr(ast, "parse", counting)
    text = shape(SIZE)
    program, offset = extract(text)
    assert text[offset : offset + len(program)] == program
    assert sum(parsed) <= 7 * len(text)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_four_times_the_text_is_no_sixteen_times_the_work(shape):
    def work(size: int) -> float:
        text = shape(size)
        start = time.process_time()
        extract(text)
        return time.process_time() - start

    most = 10 * min(work(4_000) for _ in range(3)) + 0.01  # quadratic: 16; the rest is for the clock's grain
    assert any(work(16_000) <= most for _ in range(3))  # again only where something else took the time


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_extraction_is_final_in_every_shape(shape):
    program, _ = extract(shape(2_000))
    assert extract(program) == (program, 0)


def test_a_stub_is_parsed_a_bounded_number_of_times(monkeypatch):
    calls: list[int] = []
    parse = ast.parse

    def counting(text):
        calls.append(len(text))
        return parse(text)

    monkeypatch.setattr(ast, "parse", counting)
    extract(f"{FENCE}\nf(\n" * 20_000, "def f():\n")
    assert len(calls) <= 8_000


@pytest.mark.parametrize(
    ("character", "size"),
    [*((c, 262_144) for c in "`~ \n#a(<[é\ud800\0"), ("`", 300_000), ("a", 300_000), ("\0", 300_000)],
)
def test_one_character_without_end_is_left_as_it_is(character, size):
    assert extract(character * size) == (character * size, 0)
