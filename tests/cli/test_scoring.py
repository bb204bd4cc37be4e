"""What the loop is handed as a scorer: the project's reward with its alarm, a user's Python function."""

import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import PPO, command

from cli.errors import UsageError
from cli.problems import within_limits
from cli.scoring import FunctionScorer, ScheduledScorer
from data import Problem, TestCase
from ppo.credit import unexecuted_lines
from ppo.parallel import ALONE, World
from reward import Outcome, RewardConfig, RewardSchedule, ScheduleConfig, Scorer, Verdict, rescore
from reward.budget import program_times
from sandbox import Limits

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [(Problem(id=str(n), prompt="p", tests=(TestCase("", ""),)), "x" * n) for n in range(3)]


def scorer(tmp_path, source: str) -> FunctionScorer:
    file = tmp_path / "mine.py"
    file.write_text(source)
    return FunctionScorer(f"{file}:score")


def test_it_is_called_with_problems_and_programs(tmp_path):
    mine = scorer(tmp_path, "def score(pairs):\n    return [len(p) + 10 * int(q.id) for q, p in pairs]\n")
    assert [s.total for s in mine(PAIRS, 0)] == [0.0, 11.0, 22.0]


def test_none_stays_none_and_scores_stay_scores(tmp_path):
    source = (
        "from ppo.rollout import PlainScore\n"
        "def score(pairs):\n    return [None, PlainScore(2.0, kind='good', metrics={'reward/x': 1.0}), 3]\n"
    )
    first, second, third = scorer(tmp_path, source)(PAIRS, 0)
    assert first is None
    assert (second.total, second.kind, second.metrics) == (2.0, "good", {"reward/x": 1.0})
    assert third.total == 3.0


def test_a_function_is_called_once_with_the_whole_rollout(tmp_path):
    """Responses that have ended are not handed to it one by one."""
    source = "calls = []\ndef score(pairs):\n    calls.append(len(pairs))\n    return [0.0] * len(pairs)\n"
    mine = scorer(tmp_path, source)
    for problem, program in PAIRS:
        mine.begin(problem, program)
    mine(PAIRS, 0)
    assert mine.function.__globals__["calls"] == [3]


BAD = {
    "def other(pairs): return []": "has no function score",
    "def score(pairs): return [1.0]": "returned 1 scores for 3 programs",
    "def score(pairs): return ['a', 1, 2]": "'a' for problem '0' is neither a number nor a Score",
    "def score(pairs): return [1, '1.0', 2]": "'1.0' for problem '1' is neither a number nor a Score",
    "def score(pairs): return [1, 2, [3]]": "[3] for problem '2' is neither",
    "def score(pairs): return [1, 2, 3j]": "3j for problem '2' is neither",
    "def score(pairs): return 1.0": "returned 1.0, not a list",
    "def score(pairs): return 'abc'": "returned 'abc', not a list",
    "def score(pairs): return None": "returned None, not a list",
    "def score(pairs): return {1, 2, 3}": "not a list",
    "def score(pairs): yield from pairs": "not a list",
    "def score(pairs): return [1, float('nan'), 2]": "nan for problem '1': a score must be a finite number",
    "def score(pairs): return [1, 2, -float('inf')]": "-inf for problem '2': a score must be a finite number",
    "import numpy\ndef score(pairs): return numpy.ones((3, 2))": "[1.0, 1.0] for problem '0' is neither",
    "import numpy\ndef score(pairs): return numpy.full(3, numpy.nan)": "nan for problem '0'",
    "import numpy\ndef score(pairs): return numpy.array(['1', '2', '3'])": "'1' for problem '0' is neither",
    "import numpy\ndef score(pairs): return numpy.float64(1)": "not a list",
    "from ppo.rollout import PlainScore as S\ndef score(pairs): return [S('1')] * 3": "'1' for problem '0'",
    "def score(pairs): return [1 / 0]": "ZeroDivisionError: division by zero (",
    "def score(pairs):\n    return helper()\ndef helper():\n    raise ValueError": "ValueError (",
    "def score(pairs): raise SystemExit(0)": "SystemExit: 0 (",
    "def score(): return []": "TypeError: score() takes 0 positional arguments but 1 was given",
    "def score(pairs) return []": "SyntaxError: expected ':' (",
    "import nothing_of_that_name": "ModuleNotFoundError: No module named 'nothing_of_that_name' (",
}
WHERE = {"return [1 / 0]": 1, "raise ValueError": 4, "SystemExit(0)": 1, "pairs) return": 1, "nothing_of": 1}


@pytest.mark.parametrize("source", BAD)
def test_a_bad_function_is_one_clear_line(tmp_path, source):
    with pytest.raises(UsageError) as caught:
        scorer(tmp_path, source)(PAIRS, 0)
    text = str(caught.value)
    assert (
        text.startswith("--reward ") and BAD[source] in text and "\n" not in text
    ) or "has no function" in text
    for part, line in WHERE.items():
        if part in source:
            assert text.endswith(f"({tmp_path / 'mine.py'}:{line})")


GOOD = {
    "array": "import numpy\ndef score(pairs): return numpy.arange(3)",
    "float32": "import numpy\ndef score(pairs): return [numpy.float32(i) for i in range(3)]",
    "array of no dimension": "import numpy\ndef score(pairs): return [numpy.array(i) for i in range(3)]",
    "tensor": "import torch\ndef score(pairs): return torch.arange(3.0, requires_grad=True)",
    "tensors": "import torch\ndef score(pairs): return [torch.tensor(i) for i in range(3)]",
    "tuple": "def score(pairs): return 0, 1, 2",
    "bools and ints": "def score(pairs): return [False, True, 2]",
}


@pytest.mark.parametrize("name", GOOD)
def test_numbers_of_any_library_are_scores(tmp_path, name):
    scores = scorer(tmp_path, GOOD[name])(PAIRS, 0)
    assert [(type(score.total), score.total) for score in scores] == [
        (float, 0.0),
        (float, 1.0),
        (float, 2.0),
    ]


HANGS = {
    "loop": "while True: pass",
    "sleep": "import time\n    time.sleep(600)",
    "lock": "import threading\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()",
    "pattern": "import re\n    re.match('(a+)+$', 'a' * 60 + 'b')",
    "process": "import subprocess\n    subprocess.run(['sleep', '600'])",
    "catches": "import time\n    try:\n        time.sleep(600)\n    except Exception:\n        pass",
}


@pytest.mark.parametrize("name", HANGS)
def test_a_function_that_hangs_ends_in_a_named_limit(tmp_path, name):
    file = tmp_path / "mine.py"
    file.write_text(f"def score(pairs):\n    {HANGS[name]}\n")
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(UsageError, match=r"not back within 0\.2 s \(--reward-seconds\)"):
        FunctionScorer(f"{file}:score", seconds=0.2)(PAIRS, 0)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_file_that_hangs_when_imported_does_too(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("while True: pass\n")
    with pytest.raises(UsageError, match="--reward-seconds"):
        FunctionScorer(f"{file}:score", seconds=0.2)


def test_what_cannot_be_interrupted_ends_the_process():
    """The alarm is masked before any import: threads of libraries made later would take it in our place."""
    code = (
        "import signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "sys.path.insert(0, '.')\nimport cli.time_limit as t\nt.GRACE_SECONDS = 0.2\n"
        "with t.time_limit(0.1, 'too long'):\n    while True: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (2, "error: too long\n")


def test_ctrl_c_reaches_a_function_at_work(tmp_path):
    work = "os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(10)"
    source = f"import os, signal, time\ndef score(pairs):\n    {work}"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            scorer(tmp_path, source)(PAIRS, 0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_is_tried_once_on_one_pair(tmp_path):
    mine = scorer(
        tmp_path, "seen = []\ndef score(pairs):\n    seen.extend(pairs)\n    return [0] * len(pairs)\n"
    )
    problem = Problem("a", "p", (TestCase("", ""),), solutions=("print(1)",))
    mine.check(problem)
    assert mine.function.__globals__["seen"] == [(problem, "print(1)")]


@pytest.mark.parametrize("spec", ["missing.py:score", "nofunction", "a.py:"])
def test_a_bad_spec_is_one_clear_line(spec):
    with pytest.raises(UsageError, match=r"expected file\.py:function"):
        FunctionScorer(spec)


def test_the_file_may_define_dataclasses(tmp_path):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass, field\n\n"
        "@dataclass\nclass Mine:\n    total: float\n    kind: str = 'mine'\n"
        "    metrics: dict = field(default_factory=dict)\n\n"
        "def score(pairs):\n    return [Mine(float(len(p))) for _, p in pairs]\n"
    )
    assert [s.total for s in scorer(tmp_path, source)(PAIRS, 0)] == [0.0, 1.0, 2.0]


# --- the project's reward

PLUS_ONE = Problem("plus", "Read n, print n + 1.", (TestCase("1\n", "2\n"), TestCase("41\n", "42\n")))
# The first tries crash, the last ones repeat their input: R rises to 0.6, and nothing is ever solved.
SOLVES = "print(int(input()) + 1)"
TRIES = [f"n = int(input())\nprint(n + 1 + undefined_{i})" for i in range(130)]
COLLAPSE = [TRIES] * 3 + [["print(input())"] * 130] * 4


def scheduled(scorer: Scorer, said: list[str]) -> ScheduledScorer:
    # The mix moves all the time; the alarm must not take that for a rise of R.
    schedule = RewardSchedule(RewardConfig(), ScheduleConfig("linear", over=4))
    return ScheduledScorer(scorer, schedule, say=said.append)


def test_the_collapse_to_short_programs_is_logged_and_told_also_after_a_resume() -> None:
    said: list[str] = []
    with Scorer(workers=1) as scorer:
        straight, first, second = (scheduled(scorer, lines) for lines in (said, [], []))
        logged = [straight([(PLUS_ONE, p) for p in tries], i) for i, tries in enumerate(COLLAPSE)]
        for i in range(4):
            first([(PLUS_ONE, p) for p in COLLAPSE[i]], i)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        resumed = [second([(PLUS_ONE, p) for p in COLLAPSE[i]], i) for i in range(4, 7)]
    alarms = [{score.metrics["hack/alarm"] for score in scores if score} for scores in logged]
    assert alarms[:3] == [{0.0}] * 3 and alarms[-1] == {1.0}
    assert sum("alarm" in line for line in said) == 1 and sum(alarm == {1.0} for alarm in alarms) > 1
    assert [line for line in said if "objective" in line] == [
        f"the objective is now {name}" for name in ("mix 0.25", "mix 0.5", "mix 0.75", "partial")
    ]
    assert {score.metrics["hack/short_wrong"] for score in logged[-1] if score} == {1.0}
    assert [[s and s.metrics for s in scores] for scores in resumed] == [
        [s and s.metrics for s in scores] for scores in logged[4:]
    ]


class Told:
    """A scorer that knows what programs do: each is named by the tests it passes."""

    workers = 1

    def outcomes(self, pairs, progress=None, *, timed=None):
        return [self.outcome(text) for _, text in pairs]

    @staticmethod
    def outcome(text: str) -> Outcome | None:
        if text == "fault":
            return None
        verdicts = tuple(Verdict("ok", mark == "+", 2, "0" * 64, idle=False) for mark in text)
        return Outcome(True, len(text), verdicts, "ok")


class Meeting(World):
    """A rank of several in one process, each in a thread of its own."""

    def __init__(self, rank: int, size: int, table: list, barrier: threading.Barrier) -> None:
        super().__init__(rank, size)
        self.table, self.barrier = table, barrier

    def each(self, work):
        self.table[self.rank] = work()
        self.barrier.wait(timeout=60)
        found = list(self.table)
        self.barrier.wait(timeout=60)  # none writes the next before all have read
        return found


def test_ranks_weigh_tests_by_the_programs_of_all() -> None:
    """Rewards and state are those of one process, on every rank: what one has run, the others count too."""
    two = replace(PLUS_ONE, id="other")
    rollouts = [
        [(PLUS_ONE, "+-"), (PLUS_ONE, "+-"), (two, "fault"), (two, "-+")],
        [(two, "-+"), (PLUS_ONE, "-+"), (PLUS_ONE, "+-"), (two, "++")],
        [(PLUS_ONE, "-+"), (two, "-+"), (two, "+-"), (PLUS_ONE, "--")],
    ]

    def run(world: World = ALONE) -> tuple[list, dict]:
        schedule = RewardSchedule(RewardConfig(), ScheduleConfig(difficulty=4.0, difficulty_memory=3))
        scheduled_scorer = ScheduledScorer(Told(), schedule, world=world)
        scores = [scheduled_scorer(pairs, i) for i, pairs in enumerate(rollouts)]
        totals = [[score and score.total for score in found] for found in scores]
        return totals, scheduled_scorer.state_dict()

    alone = run()
    table, barrier = [None, None], threading.Barrier(2)
    with ThreadPoolExecutor(2) as ranks:
        found = list(ranks.map(run, [Meeting(rank, 2, table, barrier) for rank in (0, 1)]))
    assert found == [alone, alone]
    assert alone[0][2][0] > 0.8 > alone[0][2][1]  # k/T of both is a half


def test_progress_ends_at_the_number_of_programs() -> None:
    heard: list[int] = []
    with Scorer(workers=1) as scorer:
        scheduled_scorer = ScheduledScorer(scorer, RewardSchedule(), progress=heard.append)
        pairs = [(PLUS_ONE, program) for program in ("print(2)", "print(3)", "print(2)", "x =", "print(2)")]
        scheduled_scorer(pairs, 0)
        assert heard[0] == 0 and heard[-1] == 5 and heard == sorted(heard)
        heard.clear()
        scheduled_scorer([*pairs, (PLUS_ONE, "print(4)")], 1)
        assert heard == [5, 6]


def test_a_real_run_gives_back_every_logged_reward(ppo_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescore.main([str(ppo_run / "samples.jsonl")]) == 0
    assert "16 programs, 0 faults; every logged reward reproduced" in capsys.readouterr().out


def test_what_programs_took_is_noted_with_the_slowest_problem() -> None:
    noted = {}
    slow = Problem("slow", "p", (TestCase("", "1"),))
    pairs = [(PLUS_ONE, SOLVES), (PLUS_ONE, SOLVES), (slow, "import time\ntime.sleep(0.5)\nprint(1)")]
    with Scorer(workers=1) as scorer:
        ScheduledScorer(scorer, RewardSchedule(), note=noted.update)(pairs, 0)
    assert noted["slowest_problem"] == "slow"
    assert (
        0 < noted["program_seconds/p50"] <= noted["program_seconds/p99"] <= noted["program_seconds/slowest"]
    )
    assert noted["program_seconds/slowest"] >= 0.5
    assert 0 < noted["programs_per_second_and_core"] <= 2 / 0.5  # two were run, on one worker
    assert program_times([]) == {}
    assert program_times([(n / 100, str(n)) for n in range(101)]) == {
        "program_seconds/p50": 0.5,
        "program_seconds/p99": 0.99,
        "program_seconds/slowest": 1.0,
        "slowest_problem": "100",
        "programs_per_second_and_core": 2.0,
    }


def test_programs_run_early_change_no_byte_of_a_run(ppo_run: Path, sft_run: Path, tmp_path: Path) -> None:
    """`ppo_run` has run each when its response ended; here all are run after the last one has."""
    after = tmp_path / "after"
    assert command("ppo", "--sft", sft_run, "--out", after, *PPO, "--scoring.no-overlap") == 0
    for name in ("metrics.jsonl", "samples.jsonl", "tokens.jsonl"):
        assert (after / name).read_bytes() == (ppo_run / name).read_bytes()


def test_a_scorer_begins_programs_as_they_are_heard_of() -> None:
    with Scorer(workers=1) as judge:
        scheduled(judge, []).begin(PLUS_ONE, SOLVES)
        (future,) = judge._begun.values()
        (outcome,) = scheduled(judge, [])._outcomes([(PLUS_ONE, SOLVES)])
        assert outcome == future.result()[0] and outcome.passed == 2


def test_the_row_of_a_run_names_it(ppo_run: Path) -> None:
    rows = [json.loads(line) for line in (ppo_run / "timing.jsonl").read_text().splitlines()]
    assert all("slowest_problem" in row for row in rows if row["iteration"] > 0)
    assert "program_seconds/p99" not in (ppo_run / "metrics.jsonl").read_text()


def test_rewards_say_where_their_program_failed():
    """What token credit reads: from the sandbox's traceback to the lines that were never reached."""
    problem = Problem("p", "Print 6 / n.", (TestCase("1", "6"), TestCase("0", "0")))
    late = "n = int(input())\nprint(6 // n)\n"
    early = "n = int(input())\nn.real()\nprint(6 // n)\nprint()\n"
    with Scorer(workers=1) as judge:
        found = ScheduledScorer(judge, RewardSchedule())([(problem, late), (problem, early)], 0)
    assert [score.tracebacks for score in found] == [(None, (2, 2)), ((2, 2), (2, 2))]
    assert list(unexecuted_lines(late, found[0].tracebacks)) == []  # one run reached everything
    assert list(unexecuted_lines(early, found[1].tracebacks)) == [3, 4, 5]


def test_problems_that_nothing_can_pass_are_left_out_and_told() -> None:
    big = Problem("big", "p", (TestCase("", "x" * 2000),))
    kept, note = within_limits([PLUS_ONE, big], Limits(output_kb=1), "some.jsonl")
    assert kept == [PLUS_ONE]
    assert note == (
        "1 of 2 problems left out that nothing can pass (problem 'big', test 1: its output has 2 KiB, "
        "more than output_kb 1)"
    )
    assert within_limits([PLUS_ONE, big], Limits(), "some.jsonl") == ([PLUS_ONE, big], "")
    with pytest.raises(UsageError, match=r"some\.jsonl: no problem fits the limits: problem 'big', test 1"):
        within_limits([big], Limits(output_kb=1), "some.jsonl")
