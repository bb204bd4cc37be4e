"""README and docs are true: their commands parse, the places the README names exist."""

import ast
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
BLOCKS = re.findall(r"```sh\n(.*?)```", README + DOCS, flags=re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
PLACES = re.findall(r"\[`([\w/]+\.py)`\]\(([\w/]+\.py)\) ((?:`\w+`(?:, )?)+)", README)


def arguments(line: str) -> list[str]:
    return shlex.split(line.split("#")[0])


@pytest.mark.parametrize(
    "line", [c for c in COMMANDS if re.match(r"\.venv/bin/python (train|evaluate)\.py ", c)]
)
def test_commands_parse(line, monkeypatch):
    from cli import dispatch

    ran = []
    monkeypatch.setattr(dispatch, "resume_defaults", lambda path, name, kind: kind(resume=path))
    for name, (kind, _) in list(dispatch._COMMANDS.items()):
        monkeypatch.setitem(dispatch._COMMANDS, name, (kind, ran.append))
    _, script, *rest = arguments(line)
    name = "evaluate" if script == "evaluate.py" else rest.pop(0)
    monkeypatch.chdir(ROOT)
    assert dispatch.dispatch(name, rest) == 0
    assert len(ran) == 1


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("make")])
def test_make_targets_exist(line):
    target = arguments(line)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M)


def test_there_is_something_to_check():
    assert len(PLACES) >= 14
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize("shown, path, names", PLACES)
def test_every_place_to_change_exists(shown, path, names):
    assert shown == path
    defined = {
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert set(re.findall(r"`(\w+)`", names)) <= defined


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_loop_is_the_one_in_the_code():
    from ppo import loop

    block = re.search(r"```\n(for each iteration:.*?)```", README, flags=re.S)
    assert block
    shown = [line.strip() for line in block[1].splitlines()]
    written = [line.strip() for line in (loop.__doc__ or "").splitlines()]
    assert all(line in written for line in shown)
