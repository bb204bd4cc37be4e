"""A user's reward that returns odd things: a score, or one line that names the function and the problem."""

import pytest
from test_bad_input import refused

from cli.errors import UsageError
from cli.ppo import run_ppo
from cli.ppo_settings import PPOCommand
from cli.scoring import FunctionScorer
from data import Problem, TestCase

PAIRS = [(Problem(id="a", prompt="p", tests=(TestCase("", ""),)), "x")]
OWN = "class S:\n    total, kind, metrics = 1.0, 'good', {}\n"

ODD = {
    "def score(pairs): return [10 ** 400]": "for problem 'a': a score must be a finite number",
    f"{OWN}    total = 10 ** 400\ndef score(pairs): return [S()]": "must be a finite number",
    f"{OWN}    total = property(lambda self: self.x['y'])\n"
    f"    x = {{}}\ndef score(pairs): return [S()]": "KeyError: 'y' (",
    f"{OWN}    kind = None\ndef score(pairs): return [S()]": "kind None for problem 'a' is no name",
    f"{OWN}    kind = ''\ndef score(pairs): return [S()]": "kind '' for problem 'a' is no name",
    f"{OWN}    metrics = None\ndef score(pairs): return [S()]": "metrics None for problem 'a' are no mapping",
    f"{OWN}    metrics = {{'reward/x': 'b'}}\ndef score(pairs): return [S()]": "'b' for problem 'a'",
    f"{OWN}    metrics = {{'reward/x': float('nan')}}\ndef score(pairs): return [S()]": "finite number",
    f"{OWN}    parts = {{'mine': 'b'}}\ndef score(pairs): return [S()]": "'b' for problem 'a'",
    f"{OWN}    record = {{'x': {{1}}}}\ndef score(pairs): return [S()]": "set is not JSON serializable",
    "class S:\n    def __getattr__(self, name): return 1 / 0\ndef score(pairs): return [S()]": "by zero (",
    "async def score(pairs): return [1.0]": "is async; write it as a plain function",
    "class L(list):\n    def __len__(self): return 1\ndef score(pairs): return L([1, 2])": "2 scores for 1",
    "class E(Exception):\n    def __str__(self): return self.x\ndef score(pairs): raise E": "E (",
}


def scorer(tmp_path, source: str) -> FunctionScorer:
    file = tmp_path / "odd.py"
    file.write_text(source)
    return FunctionScorer(f"{file}:score")


@pytest.mark.parametrize("spec", ["rw.py", ":score", "rw.py:", "absent.py:score"])
def test_a_reward_that_names_no_function_is_told_what_it_takes(capsys, tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rw.py").write_text("")
    said = refused(capsys, "ppo", "--sft", "sft", "--reward", spec)
    assert f"--reward {spec}: expected file.py:function, with a file that exists" in said


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("source", ODD)
def test_odd_scores_are_one_line(tmp_path, source):
    with pytest.raises(UsageError) as caught:
        scorer(tmp_path, source)(PAIRS, 0)
    assert "odd.py:score: " in str(caught.value) and ODD[source] in str(caught.value)


@pytest.mark.parametrize("total", ["numpy.float32(0.5)", "torch.tensor(0.5)", "True"])
def test_scores_with_numbers_of_any_library_are_plain_ones(tmp_path, total):
    """What the logs write are floats, whatever the function counts in; the rest of a Score stays."""
    source = (
        f"import numpy, torch\n{OWN}    record, tracebacks = {{'why': 'x'}}, [None]\n    total = {total}\n"
        f"    metrics = parts = {{'reward/x': {total}}}\ndef score(pairs): return [S()]"
    )
    (score,) = scorer(tmp_path, source)(PAIRS, 0)
    assert score is not None
    assert type(score.total) is type(score.metrics["reward/x"]) is type(score.parts["reward/x"]) is float
    assert (score.kind, score.record, score.tracebacks) == ("good", {"why": "x"}, [None])


@pytest.mark.parametrize(
    "given",
    [
        *("None", "3", "'ab'", "['ab']", "[None, 5]", "{(1, 2)}", "[(1, 2, 3)]"),
        *("[(None, None)]", "[(1, None)]", "[(1, 0)]", "[(0, 1)]", "[(1, 1.0)]", "[(1, True)]"),
    ],
)
def test_tracebacks_are_lines_of_each_run(tmp_path, given):
    """Where token credit is on it would read anything else as other lines, or end in a traceback of ours."""
    source = f"{OWN}    tracebacks = {given}\ndef score(pairs): return [S()]"
    with pytest.raises(UsageError, match="for problem 'a' are not one entry per run: None, or"):
        scorer(tmp_path, source)(PAIRS, 0)


def test_tracebacks_may_be_of_any_sequences(tmp_path):
    source = f"{OWN}    tracebacks = ([1, 2], None, (None, 3))\ndef score(pairs): return [S()]"
    (score,) = scorer(tmp_path, source)(PAIRS, 0)
    assert score is not None and score.tracebacks == [(1, 2), None, (None, 3)]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_a_time_limit_is_one_that_a_timer_takes(tmp_path, seconds):
    with pytest.raises(UsageError, match="--reward-seconds must be in"):
        run_ppo(PPOCommand(sft=tmp_path, out=tmp_path / "out", reward_seconds=seconds))
    assert not (tmp_path / "out").exists()
