"""The logic of the page's scripts, run by node and held against another way to say the same: which samples a
filter lets through, what a comparison of outputs shows, what colouring leaves of a program."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import report

WEB = Path(report.__file__).parent / "web"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
FREE = {
    "source": "",
    "iteration": "",
    "problem": "",
    "verdict": "",
    "sign": "",
    "words": "",
    "stages": [],
    "order": "sampled",
}


def node(names: tuple[str, ...], expression: str, given: Any) -> Any:
    """The value of an expression in `given`, with some of the page's scripts around it."""
    scripts = "\n".join((WEB / f"{name}.js").read_text(encoding="utf-8") for name in names)
    program = (
        f"{scripts}\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n"
        f"process.stdout.write(JSON.stringify({expression}));"
    )
    done = subprocess.run(
        ["node", "-e", program], input=json.dumps(given), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sample(draw: random.Random, texts: int) -> dict[str, Any]:
    """One that lacks what real ones may lack, too."""
    held = {
        "source": draw.randrange(2),
        "stage": draw.choice(["parses", "prints", "passes", "mine"]),
        "problem": f"P{draw.randrange(5)}",
        "ended": draw.random() < 0.8,
        "program": draw.randrange(texts),
    }
    optional = {
        "iteration": draw.randrange(1, 5),
        "score": draw.choice([-1.0, 0.0, 0.5, 1.0]),
        "advantage": draw.choice([-2.0, 0.0, 0.3]),
        "passed": (passed := draw.randrange(4)),
        "tests": max(passed, draw.randrange(4)),
        "response": draw.randrange(texts),
        "about": draw.randrange(texts),
        "error": draw.randrange(texts),
        "signs": ["silent"],
        "findings": [{"id": "B307"}],
        "runs": [{"error": draw.randrange(texts)}, {}],
    }
    return held | {name: value for name, value in optional.items() if draw.random() < 0.7}


def wanted(s: dict[str, Any], filter_: dict[str, Any], texts: list[str]) -> bool:
    """What the filter means, for all but the stages."""
    passed, tests, advantage = s.get("passed"), s.get("tests") or 0, s.get("advantage")
    verdicts = {
        "": True,
        "all": tests > 0 and passed == tests,
        "some": passed is not None and 0 < passed < tests,
        "none": tests > 0 and passed == 0,
        "unscored": "score" not in s,
        "finding": "findings" in s,
        "sign": "signs" in s,
        "cut": not s["ended"],
    }
    signs = {"": True, "up": (advantage or 0) > 0, "down": (advantage or 0) < 0, "zero": advantage == 0}
    places = [s.get(key) for key in ("program", "response", "about", "error")]
    places += [run.get("error") for run in s.get("runs", [])]
    read = [texts[place] for place in places if place is not None] + [s["problem"]]
    return (
        all(filter_[key] in ("", s.get(key)) for key in ("source", "iteration", "problem"))
        and verdicts[filter_["verdict"]]
        and signs[filter_["sign"]]
        and any(filter_["words"].strip().lower() in text.lower() for text in read)
    )


def test_a_filter_lets_through_what_it_says():
    """Against the same said in Python, over 400 filters of one to all kinds at once."""
    draw = random.Random(1)
    texts = ["print(1)", "PRINT(x)", "", "ZeroDivisionError: division by zero", "Größe = 3", "p1"]
    samples = [{**sample(draw, len(texts)), "id": i} for i in range(300)]
    filters = []
    for _ in range(400):
        choices = {
            "source": draw.choice([0, 1]),
            "iteration": draw.choice([1, 4]),
            "problem": draw.choice(["P1", "P4", "nobody's"]),
            "verdict": draw.choice(["all", "some", "none", "unscored", "finding", "sign", "cut"]),
            "sign": draw.choice(["up", "down", "zero"]),
            "words": draw.choice(["print", " Print(X) ", "zero", "p1", "größe", "*", "none of them"]),
            "stages": draw.choice([["passes"], ["parses", "mine"]]),
        }
        filters.append(FREE | {k: v for k, v in choices.items() if draw.random() < 0.35})
    lowered = "given.texts.map((text) => text.toLowerCase())"
    chosen = f"choose(given.samples, {{...f, stages: new Set(f.stages)}}, {lowered})"
    found = node(
        ("filter",),
        f"given.filters.map((f) => {chosen})"
        ".map((c) => [c.found.map((s) => s.id), Object.fromEntries(c.counts)])",
        {"samples": samples, "texts": texts, "filters": filters},
    )
    sizes = set()
    for filter_, (ids, counts) in zip(filters, found, strict=True):
        through = [s for s in samples if wanted(s, filter_, texts)]
        stages = filter_["stages"] or [s["stage"] for s in samples]
        assert ids == [s["id"] for s in through if s["stage"] in stages], filter_
        assert counts == {
            stage: n
            for stage in {s["stage"] for s in samples}
            if (n := sum(s["stage"] == stage for s in through))
        }
        sizes.add(len(ids))
    assert len(sizes) > 20  # the filters were neither all open nor all shut


def test_orders_put_what_has_no_score_last():
    samples = [
        {"id": i, "stage": "x", "ended": True, **held}
        for i, held in enumerate(
            [{"score": 0.5}, {}, {"score": 1, "advantage": -3}, {"score": 0, "advantage": 2}, {"score": 1}]
        )
    ]
    orders = ["sampled", "best", "worst", "advantage"]
    chosen = "choose(given.samples, {...given.free, stages: new Set(), order}, [])"
    expression = f"given.orders.map((order) => {chosen}.found.map((s) => s.id))"
    found = node(("filter",), expression, {"samples": samples, "orders": orders, "free": FREE})
    assert found == [[0, 1, 2, 3, 4], [2, 4, 0, 3, 1], [3, 0, 2, 4, 1], [2, 3, 0, 1, 4]]


def test_a_comparison_holds_both_sides_and_what_they_share():
    """Its lines without the extra ones are what was expected, without the missing ones what was printed; and
    no longer common sequence is to be had (length by dynamic programming here)."""
    draw = random.Random(2)
    pairs = [
        [[str(draw.randrange(3)) for _ in range(draw.randrange(1, 9))] for _ in "ab"] for _ in range(200)
    ]
    found = node(("diff",), "given.map(([a, b]) => diffLines(a.join('\\n'), b.join('\\n') + '\\n'))", pairs)
    for (expected, actual), lines in zip(pairs, found, strict=True):
        assert [line for kind, line in lines if kind != "extra"] == expected
        assert [line for kind, line in lines if kind != "missing"] == actual
        assert sum(kind == "same" for kind, _ in lines) == common(expected, actual)


def common(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        above = row
        row = [0]
        for j, y in enumerate(b):
            row.append(above[j] + 1 if x == y else max(row[j], above[j + 1]))
    return row[-1]


PROGRAM = 'def f(n):  # a "comment"\n    """two\n    lines"""\n    return f"{n}" + str(0x1F) if n else None\n'


def test_a_program_is_coloured_by_what_its_words_are():
    (tokens,) = node(("python",), "given.map(pythonTokens)", [PROGRAM])
    assert [(kind, text) for kind, text in tokens if kind] == [
        ("word", "def"),
        ("comment", '# a "comment"'),
        ("string", '"""two\n    lines"""'),
        ("word", "return"),
        ("string", 'f"{n}"'),
        ("builtin", "str"),
        ("number", "0x1F"),
        ("word", "if"),
        ("word", "else"),
        ("word", "None"),
    ]


def test_colouring_loses_nothing_and_lines_are_where_they_were():
    """Whatever the text: unclosed strings, odd backslashes, no Python at all."""
    draw = random.Random(3)
    pieces = [
        '"""',
        "'''",
        '"',
        "'",
        "\\",
        "\n",
        "#",
        "rb",
        "f",
        "x1",
        "0x",
        " ",
        "é",
        "\U0001f600",
        "\x00",
        "</script>",
    ]
    programs = ["".join(draw.choice(pieces) for _ in range(draw.randrange(40))) for _ in range(300)] + [
        PROGRAM
    ]
    joined = node(("python",), "given.map((p) => pythonTokens(p).map(([, text]) => text).join(''))", programs)
    assert joined == programs
    lines = node(
        ("python",),
        "given.map((p) => pythonLines(p).map((line) => line.map(([, text]) => text).join('')))",
        programs,
    )
    for program, shown in zip(programs, lines, strict=True):
        assert shown == (program.removesuffix("\n").split("\n") if program != "\n" else [""])
