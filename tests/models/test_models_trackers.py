"""Where numbers and texts of a run go besides its logs. Hosted trackers are tested against a stand-in that
takes what theirs take, and where they are installed against themselves, offline."""

import importlib.util
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugin_util import markdown_to_safe_html

from models.errors import ModelError
from models.trackers import CELL, Table, TensorBoard, check_tracker, markdown, open_trackers

TABLE = Table(("score", "program"), [[0.5, "print(1)\nprint('|')\n"], [None, "x\x00\ud800"]])


class Read(HTMLParser):
    """Elements of a text, and what stands in its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_holds_numbers_and_tables(tmp_path):
    board = TensorBoard(tmp_path)
    board.log(1, {"loss": 0.5}, {"samples": TABLE})
    board.log(2, {"loss": 0.25}, {})
    board.close()
    read = events(tmp_path)
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    (text,) = read.Tensors("samples/text_summary")
    shown = Read(markdown_to_safe_html(text.tensor_proto.string_val[0].decode()))
    assert shown.cells == ["score", "program", "0.5", "print(1)\nprint('|')\n", "None", "x\\x00\\ud800"]


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path):
    for steps in ((1, 2, 3), (2, 3, 4)):
        board = TensorBoard(tmp_path)
        for step in steps:
            board.log(step, {"loss": float(steps[0])}, {})
        board.close()
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("loss")] == [(1, 1), (2, 2), (3, 2), (4, 2)]


@given(st.text(st.characters(), max_size=40))
@example("</pre></td><script>alert(1)</script><img src=x onerror=alert(1)>|\n\n# a\n```\n&lt;![x](y)")
@settings(derandomize=True, deadline=None, max_examples=100)
def test_a_cell_is_a_text_whatever_it_holds(value):
    """Rendered by TensorBoard itself: the elements are those of a harmless table, the text is the text."""
    page = markdown_to_safe_html(markdown(Table(("a", "b"), [[value, 1], ["x", value]])))
    shown, harmless = Read(page), markdown(Table(("a", "b"), [["x", 1], ["x", "x"]]))
    assert shown.tags == Read(markdown_to_safe_html(harmless)).tags
    plain = value.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    if all(c.isprintable() or c == "\n" for c in plain):  # what renderers make of the others is theirs to say
        assert shown.cells == ["a", "b", plain, "1", "x", plain]


def test_long_texts_are_cut():
    page = markdown_to_safe_html(markdown(Table("a", [["x" * 2 * CELL]])))
    assert Read(page).cells[-1] == "x" * CELL + f"… ({CELL} more characters)"


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_tracker("none")
    with pytest.raises(ModelError, match=r"--tracker trackio: not installed here; pip install trackio"):
        check_tracker("trackio")


class StandIn:
    """The names of both that are used, with their parameters (wandb 0.31, trackio 0.43)."""

    def __init__(self, name: str, fail: bool = False) -> None:
        self.__spec__ = SimpleNamespace(name=name)  # as an imported module has
        self.fail = fail
        self.calls: list[tuple] = []

    def init(self, project, name=None, group=None, config=None, dir=None, job_type=None):
        if self.fail:
            raise RuntimeError("no login")
        self.calls.append(("init", project, name, group, config, dir, job_type))

    def log(self, metrics, step=None):
        self.calls.append(("log", metrics, step))

    def finish(self):
        self.calls.append(("finish",))

    @staticmethod
    def Table(columns=None, data=None):
        return (columns, data)


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_a_hosted_tracker_gets_what_tensorboard_gets(tmp_path, monkeypatch, kind):
    """Of a stand-in: what is called, and in which order."""
    module = StandIn(kind)
    monkeypatch.setitem(sys.modules, kind, module)
    for tracker in open_trackers(tmp_path / "run", kind, {"seed": 1}, "ppo"):
        tracker.log(3, {"loss": 0.5}, {"samples": TABLE})
        tracker.close()
    places = (str(tmp_path / "run"), "ppo") if kind == "wandb" else (None, None)
    rows = [[0.5, TABLE.rows[0][1]], [None, "x\\x00\\ud800"]]
    assert module.calls == [
        ("init", "coderl-ppo", "run", "run", {"seed": 1}, *places),
        ("log", {"loss": 0.5, "samples": (["score", "program"], rows)}, 3),
        ("finish",),
    ]
    assert events(tmp_path / "run" / "tensorboard").Scalars("loss")[0].step == 3


def test_a_tracker_that_does_not_begin_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", StandIn("wandb", fail=True))
    with pytest.raises(ModelError, match=r"--tracker wandb: could not begin \(no login\)"):
        open_trackers(tmp_path, "wandb")


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_the_tracker_itself_offline(tmp_path, monkeypatch, kind):
    """Runs where it is installed, which the requirements do not ask for."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(kind)
    for tracker in open_trackers(tmp_path / "run", kind, {"seed": 1}, "ppo"):
        tracker.log(1, {"loss": 0.5}, {"samples": TABLE})
        tracker.close()
    kept = tmp_path / "run" / "wandb" if kind == "wandb" else tmp_path / "trackio"
    assert any(path.stat().st_size for path in kept.rglob("*") if path.is_file())
