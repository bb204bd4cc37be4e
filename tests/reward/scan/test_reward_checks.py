"""Scans end, whatever the program: what takes time by a square or worse is done otherwise, or counted."""

import ast
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.scan import checks, worker
from reward.scan.worker import MAX_HELD, MAX_IMPORTS, MAX_NAME, Scanner, load_scanner

SCANNER = load_scanner()
MARK = "from django.utils.safestring import mark_safe\n"


def bandits_own() -> Scanner:
    from bandit.core import config, meta_ast, metrics, node_visitor, test_set

    return Scanner(node_visitor, meta_ast, metrics, test_set.BanditTestSet(config.BanditConfig()), checks)


PLAIN = bandits_own()


@contextmanager
def plain_bandit() -> Iterator[None]:
    """Bandit's own parts in the place of ours."""
    from bandit.plugins import django_xss

    ours = {name: getattr(django_xss, name) for name in checks._OWN}
    for name, part in ours.items():
        setattr(django_xss, name, getattr(part, "__wrapped__", None) or part.__base__)
    try:
        yield
    finally:
        for name, part in ours.items():
            setattr(django_xss, name, part)


def same(source: str) -> list:
    """The findings, which Bandit's own checks find as well."""
    with plain_bandit():
        expected = PLAIN.scan(source.encode())
    found = SCANNER.scan(source.encode())
    assert found == expected
    return found.get("findings", [])


class Late(BaseException):
    """Not an Exception: Bandit would catch it."""


@contextmanager
def seconds(limit: float) -> Iterator[None]:
    """Of this process's own CPU time."""

    def late(number: int, frame: object) -> None:
        raise Late

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def balanced(terms: int, literal: str) -> str:
    if terms == 1:
        return literal
    return f"({balanced(terms // 2, literal)}+{balanced(terms - terms // 2, literal)})"


def followed(lines: int) -> str:
    return (
        f"{MARK}a0='x'\n"
        + "".join(f"a{i}=a{i - 1}\n" * 2 for i in range(1, lines + 1))
        + f"mark_safe(a{lines})\n"
    )


def nested_withs(levels: int) -> str:
    """Within functions: 20 blocks of other kinds are all that Python nests."""
    opened = "".join(f"{' ' * 2 * i}with a,b:\n{' ' * (2 * i + 1)}def f():\n" for i in range(levels))
    return f"{MARK}{opened}{' ' * 2 * levels}y=x\nmark_safe(z)\n"


CALLS = "jinja2.Environment("
# What was not bounded took, of the five seconds that there are:
ENDS = {
    "a sum of texts": ("x=" + "+".join(["'select select select '"] * 390) + "\n", "ok"),  # 5
    "a sum with brackets": ("x=" + balanced(2600, "'select select '") + "\n", "ok"),  # more than 60
    "names that stand for names": (followed(40), "ok"),  # 2^40 steps
    "blocks within blocks": (nested_withs(22), "unscannable"),  # 2^22 steps
    "a long name": ("_pas" * 10000 + "==''" * 3900 + "\n", "unscannable"),  # 11
    "a long name of short ones": (
        "import " + ".".join("a" * 3000) + " as q\n" + "q();" * 1990,
        "unscannable",
    ),
    "calls in calls": ("import jinja2\n" + CALLS * 190 + "1," * 7000 + ")" * 190, "unscannable"),  # 2
    "as many nodes": ("import jinja2\n" + CALLS * 25 + "1," * 7000 + ")" * 25, "ok"),
    "many imports": (
        "import " + ", ".join(f"a{i}" for i in range(4000)) + "\n" + "q();" * 980,
        "unscannable",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_scan_ends_well_within_its_limit(name: str) -> None:
    source, status = ENDS[name]
    compile(source, name, "exec")  # it is a program
    with seconds(worker.CPU_SECONDS / 2):
        assert SCANNER.scan(source.encode())["status"] == status


def test_a_program_that_goes_through_too_much_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_LOOKS", 100)
    reason = "TooManyAssignmentsError in Bandit"
    assert SCANNER.scan(nested_withs(9).encode()) == {"status": "unscannable", "reason": reason}
    assert same(MARK + "a = 'x'\nb = a\nmark_safe(b)\nmark_safe(input())\n")  # and the next is scanned


def test_what_is_looked_through_for_each_node_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound Bandit is asked, one beyond it is not."""
    asked: list[str] = []
    monkeypatch.setattr(Scanner, "_findings", lambda self, text: asked.append(text) or [])
    monkeypatch.setattr(worker, "MAX_HELD", 30)
    held = "f(f(" + "1," * 11 + "))"  # 2 for the outer call, 2 * 14 for what the inner one holds
    assert worker._nodes(ast.parse(held))[2] == 1 + 1 + 1 + 2 * (1 + 1 + 11)
    programs: dict[str, Callable[[int], str]] = {
        "a name that is too long": lambda more: "a" * (MAX_NAME + more),
        "too many imports": lambda more: "import " + ", ".join(f"a{i}" for i in range(MAX_IMPORTS + more)),
        "too much in calls within calls": lambda more: "f(f(" + "1," * 11 + "))" + "; f(a)" * (more and 1),
    }
    for reason, program in programs.items():
        assert SCANNER.scan(program(0).encode())["status"] == "ok", reason
        assert SCANNER.scan(program(1).encode()) == {"status": "unscannable", "reason": reason}
    assert len(asked) == len(programs) and MAX_HELD >= 20 * worker.MAX_NODES


@pytest.mark.parametrize(
    "name",
    [
        "{0}",
        "x.{0}",
        "import {0}",
        "from {0} import x",
        "import x as {0}",
        "def f({0}): 0",
        "f({0}=1)",
        "class {0}: 0",
    ],
)
def test_names_of_every_kind_are_measured(name: str) -> None:
    assert SCANNER.scan(name.format("a" * MAX_NAME).encode())["status"] == "ok"
    assert SCANNER.scan(name.format("a" * (MAX_NAME + 1)).encode())["reason"] == "a name that is too long"
    assert SCANNER.scan(f"x = '{'a' * 9000}'".encode())["status"] == "ok"  # a text is no name


def test_no_lines_are_searched_for_a_comment_that_is_not_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bandit does so after each check of each node: 2,000 lines for each of 4,000 texts in one list."""
    from bandit.core import utils

    asked: list[object] = []
    monkeypatch.setattr(utils, "get_nosec", lambda lines, context: asked.append(context))
    assert len(SCANNER.scan(b"x = ['/tmp',\n'/tmp']  # nosec")["findings"]) == 2
    assert asked == []


def test_of_a_finding_nothing_is_kept_but_what_is_answered() -> None:
    source = ("x = ['/tmp'" + ",'/tmp'" * 199 + "\n" * 1500 + "]\n").encode()
    tracemalloc.start()
    try:
        assert len(SCANNER.scan(source)["findings"]) == 200
        assert tracemalloc.get_traced_memory()[1] < 4_000_000  # with the lines of each: 13 MB
    finally:
        tracemalloc.stop()


VERBS = ["select", "SELECT ", "\u017felect ", "delete", "delete ", "insert", "insert ", "update", "update "]
OTHERS = ["from", "from ", "\tfrom ", "into", "into ", "values(", "values", "values ", "set", "set "]
WORDS = st.sampled_from([*VERBS, *OTHERS, "", " ", "  ", "\n", "x", "a b"])
TEXTS = st.lists(WORDS, max_size=4).map("".join).map(repr)
TERMS = st.one_of(TEXTS, TEXTS, st.sampled_from(["x", "f(x)", "f'select {x} from t'", "b'select '", "3"]))


def pair(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({}{}{})".format, parts, st.sampled_from("+%*"), parts)


SUMS = st.one_of(
    st.recursive(TERMS, pair, max_leaves=12),
    st.lists(TERMS, min_size=2, max_size=8).map("+".join),
)
AROUND = st.sampled_from(
    ["x = {}", "c.execute({})", "executemany({}, 1)", "c.execute(f({}))", "{}", "x = [{}, 1]"]
)


@given(AROUND, SUMS)
def test_texts_that_are_added_up_are_judged_as_bandit_does(around: str, added: str) -> None:
    same(around.format(added))


@given(st.lists(WORDS, max_size=6).map("".join))
def test_a_text_is_judged_as_bandit_does(text: str) -> None:
    from bandit.plugins import injection_sql

    assert checks.is_sql(text) == injection_sql._check_string(text)


@pytest.mark.parametrize("verb", ["select ", "update ", "insert into ", "insert ", "delete "])
def test_a_text_is_read_once(verb: str) -> None:
    """2 s each by Bandit's pattern."""
    with seconds(worker.CPU_SECONDS / 2):
        assert not checks.is_sql(verb * (64_000 // len(verb)))
        assert checks.is_sql(verb * (64_000 // len(verb)) + "from values(set ") == (verb != "insert ")


@pytest.mark.parametrize(
    ("source", "confidence"),
    [
        ("x = 'select a from t'", None),
        ("x = 'select a from t where ' + y", "LOW"),
        ("c.execute('select a from t where ' + y)", "MEDIUM"),
        ("c.execute('select a ' + 'from t' + y)", None),  # what is searched has no space behind it
        ("c.execute('select ' + y + ' from t ')", "MEDIUM"),
        ("c.execute('delete' + ' ' + 'from' + y)", None),
        ("c.execute('delete' + y + ' ' + 'from' + z + '')", "MEDIUM"),
        ("c.execute(x + ('insert' + y) + 'into' + ' ' + 'values(')", "MEDIUM"),
        ("c.execute(y % ('into ' + ('values(' + 'insert ')))", None),
        ("x = 'select {} from t '.format(y)", "LOW"),
        ("c.execute('select {} from t '.format(y))", "MEDIUM"),
        ("c.execute('select X from t '.replace('X', y))", "LOW"),
        ("'select {} from t '.format", "LOW"),
        ("x = f'select {y} from t '", "LOW"),
        ("c.execute(f'{y}select {y} from {y}t ')", "MEDIUM"),
        ("c[0](f'select {y} from t ')", "LOW"),
    ],
)
def test_sql_is_found_as_bandit_finds_it(source: str, confidence: str | None) -> None:
    found = {finding[3] for finding in same(source) if finding[1] == "B608"}
    assert found == ({confidence} if confidence else set())


NAMES = st.sampled_from("abc")
VALUES = st.one_of(
    NAMES,
    NAMES,
    st.sampled_from(["'x'", "3", "f()", "(a, b)", "'{} {}'.format(a, 'x')", "'{}'.format(*[a, b])"]),
    st.builds("'{{}}'.format({})".format, NAMES),
)
LINES = st.one_of(
    st.builds("{} = {}".format, NAMES, VALUES),
    st.builds("{}, {} = {}, {}".format, NAMES, NAMES, VALUES, VALUES),
    st.builds("{} += {}".format, NAMES, VALUES),
    st.builds("if x:\n    {} = {}\nelse:\n    {} = {}".format, NAMES, VALUES, NAMES, VALUES),
    st.builds("with x, y as {}:\n    {} = {}".format, NAMES, NAMES, VALUES),
    st.builds("def f(x, {}):\n    {} = {}\n    mark_safe({})".format, NAMES, NAMES, VALUES, NAMES),
    st.builds("mark_safe({})".format, st.one_of(VALUES, st.sampled_from(["'%s' % a", "'%s%s' % (a, b)"]))),
)


@given(st.lists(LINES, min_size=1, max_size=9))
def test_what_is_marked_safe_is_judged_as_bandit_does(lines: list[str]) -> None:
    same(MARK + "\n".join(lines) + "\nmark_safe(a)\n")
