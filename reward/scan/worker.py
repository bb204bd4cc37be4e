"""The process that parses and scans programs; it executes nothing of them.

CPython's parser and Bandit's visitor are not made for hostile input, so they work here, away from the
trainer: exec'd, with limits on memory and on CPU seconds per scan, and replaced by the caller (`analyser.py`)
when it dies. One request is 4 bytes of length and the source; the answer is one line of JSON:

    status    ok | syntax | unscannable, and a reason where it is not ok
    findings  [line, id, severity, confidence, cwe] of each of Bandit's findings, of every severity
    tricks    [line, kind] of each (tricks.py)
    traits    what the sentinels need to know of the source (traits.py)

Bandit must not be something that a program can switch off: `# nosec` comments are not honoured; a program
that Bandit cannot finish (it skips such a file and reports no finding) is unscannable, 1500 terms of
``1+1+...`` for one, which CPython runs well; and so is one on which a check fails inside (Bandit logs the
error and goes on).
"""

from __future__ import annotations

import ast
import io
import json
import re
import resource
import signal
import socket
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

from reward.scan.traits import traits
from reward.scan.tricks import tricks

BANDIT_VERSION = "1.9.4"  # part of the reward's definition: other versions find other things

# Beyond these a scan takes seconds (100,000 lines: 12 s) and a program is no answer to anything.
MAX_BYTES = 64 * 1024
MAX_LINES = 2000
# Bandit's visitor takes one Python frame per level of nesting and checks take more. A fixed bound well below
# the interpreter's limit makes the verdict the same under every version of it.
MAX_DEPTH = 400
# The largest of 150 human solutions to contest problems has 2,403. Most checks take time by nodes, a few by
# nodes times something else of the program, which is bounded below: what is found then depends on counts, and
# not on how fast the machine is.
MAX_NODES = 8000
MAX_NAME = 1000  # characters of a name, dotted names included: looked through at each node that has it
MAX_IMPORTS = 500  # names imported: looked through at each call
# Calls around each node, summed up: all that a call holds is looked through for some (jinja2.Environment).
MAX_HELD = 200_000

# Of one scan. What is allowed above takes at most a fifth of it.
CPU_SECONDS = 5.0
MEMORY_BYTES = 1 << 30  # address space
LENGTH = struct.Struct("<I")

_NAME = "/program.py"  # never opened; a path without a folder would be a warning in the log per scan
_HEAD = re.compile(r"(?:[^\r\n]*+(?:\r\n|[\r\n])?+){2}")  # the lines in which an encoding can be named
_KNOWN = b"eval(input())  # nosec\n"


class SetupError(Exception):
    """Bandit is missing, of another version, or finds nothing."""


class _ScanFailed(Exception):
    """A Bandit check failed inside; without it, what the others found is not the whole."""


class _Found(list[tuple[int, str, str, str, int]]):
    """Of each of Bandit's issues what is answered: each holds numbers of up to 2,000 lines."""

    def append(self, issue: Any) -> None:
        lineno, cwe = int(issue.lineno), int(issue.cwe.id or 0)
        super().append((lineno, str(issue.test_id), str(issue.severity), str(issue.confidence), cwe))


@dataclass(frozen=True)
class Scanner:
    """Bandit, loaded and known to work. The fields are the parts of it that a scan needs, and checks.py."""

    node_visitor: Any
    meta_ast: Any
    metrics: Any
    tests: Any
    checks: Any

    def scan(self, source: bytes) -> dict[str, Any]:
        """The answer for one program."""
        if len(source) > MAX_BYTES or len(source.splitlines()) > MAX_LINES:
            return _unscannable("too large")
        if source.count(b"{") > MAX_NODES:  # in an f-string the parser of 3.11 takes time by their square
            return _unscannable("too many parts")
        try:
            # As the sandbox compiles it: a program is text, and an encoding named in it means nothing.
            text = source.decode("utf-8", "surrogatepass").removeprefix("\ufeff")
            tree = ast.parse(text)
        except (SyntaxError, ValueError) as error:  # a null byte is a ValueError before 3.12
            return {"status": "syntax", "reason": type(error).__name__}
        except (RecursionError, MemoryError) as error:
            return _unscannable(type(error).__name__)
        nodes, depth, held = _nodes(tree)
        if len(nodes) > MAX_NODES:
            return _unscannable("too many parts")
        if depth > MAX_DEPTH:
            return _unscannable("nested too deeply")
        if held > MAX_HELD:
            return _unscannable("too much in calls within calls")
        if sum(isinstance(node, ast.alias) for node in nodes) > MAX_IMPORTS:
            return _unscannable("too many imports")
        if _longest_name(nodes) > MAX_NAME:
            return _unscannable("a name that is too long")
        try:
            findings = sorted(self._findings(text))
        except Exception as error:  # whatever stopped Bandit has hidden findings: a fact about this program
            return _unscannable(f"{type(error.__cause__ or error).__name__} in Bandit")
        return {"status": "ok", "findings": findings, "tricks": tricks(nodes), "traits": traits(tree, nodes)}

    def _findings(self, text: str) -> list[tuple[int, str, str, str, int]]:
        """Bandit's own visitor on bytes in memory. Passing no nosec lines is what its ignore_nosec does."""
        self.checks.begin()
        metrics = self.metrics.Metrics()
        metrics.begin(_NAME)
        visitor = self.node_visitor.BanditNodeVisitor(
            _NAME,
            io.BytesIO(_without_cookie(text)),
            self.meta_ast.BanditMetaAst(),
            self.tests,
            False,
            {},
            metrics,
        )
        visitor.tester.report_error = _fail  # Bandit would log the error and call the file scanned
        # It would look for each line of each node among no lines, after each check.
        visitor.tester._get_nosecs_from_contexts = _no_nosecs
        visitor.tester.results = found = _Found()
        visitor.process(text)
        return found


def load_scanner() -> Scanner:
    """Import Bandit and try it. Raises SetupError, of one line."""
    wanted = f"the reward is defined with bandit=={BANDIT_VERSION}"
    try:
        import bandit
        from bandit.core import config, meta_ast, metrics, node_visitor, test_set
    except ImportError as error:
        raise SetupError(f"{wanted}, which is not installed: {error}") from None
    if bandit.__version__ != BANDIT_VERSION:
        raise SetupError(f"{wanted}, not {bandit.__version__}: other versions find other things")
    from reward.scan import checks  # imports Bandit

    tests = test_set.BanditTestSet(config.BanditConfig())
    checks.install(tests.tests)
    scanner = Scanner(node_visitor, meta_ast, metrics, tests, checks)
    # A Bandit that finds nothing would make every program secure, so it must find one known thing.
    found = [finding[1:3] for finding in scanner.scan(_KNOWN).get("findings", [])]
    if found != [("B307", "MEDIUM")]:
        raise SetupError(f"Bandit does not work as it should: eval(input()) gave {found}, not B307 MEDIUM")
    return scanner


def serve() -> None:
    """Answer requests on the socket that is standard input until the caller closes it."""
    sock = socket.socket(fileno=0)
    with sock, sock.makefile("rb") as requests:
        try:
            scanner = load_scanner()
        except SetupError as error:
            _send(sock, {"error": str(error)})
            return
        _enter_limits()
        _send(sock, {"ready": BANDIT_VERSION})
        while header := requests.read(LENGTH.size):
            source = requests.read(LENGTH.unpack(header)[0])
            # The default action of SIGPROF ends the process: a scan cannot outlast its CPU seconds.
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            answer = scanner.scan(source)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(sock, answer)


def _enter_limits() -> None:
    """After the imports. A container may already allow less."""
    for kind, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _send(sock: socket.socket, answer: dict[str, Any]) -> None:
    sock.sendall(json.dumps(answer).encode() + b"\n")


def _unscannable(reason: str) -> dict[str, Any]:
    return {"status": "unscannable", "reason": reason}


def _without_cookie(text: str) -> bytes:
    """The source for the one check that reads it as a file, which would honour an encoding named in it."""
    head = _HEAD.match(text)
    assert head is not None  # it matches the empty text
    return (head[0].replace("coding", "c0ding") + text[head.end() :]).encode()


def _fail(test: str, context: object, error: Exception) -> NoReturn:
    raise _ScanFailed(f"{test}: {type(error).__name__}") from error


def _no_nosecs(context: object, test_result: object = None) -> None:
    """The lines with `# nosec` among a node's: there are none."""


def _nodes(tree: ast.AST) -> tuple[list[ast.AST], int, int]:
    """All nodes of a tree, its levels of nesting, and the calls around each node, summed up; no recursion."""
    nodes: list[ast.AST] = []
    depth, held, level = 0, 0, [(tree, 0)]
    while level:
        depth += 1
        nodes += [node for node, _ in level]
        held += sum(calls for _, calls in level)
        level = [
            (child, calls + isinstance(node, ast.Call))
            for node, calls in level
            for child in ast.iter_child_nodes(node)
        ]
    return nodes, depth, held


def _longest_name(nodes: list[ast.AST]) -> int:
    """Of variables, attributes, functions, modules...: whatever a node has as text and is no literal."""
    names = (
        len(part)
        for node in nodes
        if not isinstance(node, ast.Constant)
        for part in vars(node).values()
        if isinstance(part, str)
    )
    return max(names, default=0)
