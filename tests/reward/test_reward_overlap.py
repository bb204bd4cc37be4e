"""Programs that are begun early: the same outcomes as all at once, each run once, errors included."""

import json
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Problem, TestCase
from reward import Outcome, RewardConfig, RewardError, Scorer
from sandbox import Limits, Report, Run, SandboxError, Status

ECHO = Problem("echo", "Print n.", (TestCase("1\n", "1\n"), TestCase("2\n", "2\n")))
PLUS = Problem("plus", "Print n + 1.", (TestCase("1\n", "2\n"), TestCase("2\n", "3\n")))


class Box:
    """A sandbox in which the program `# k` says k to everything, `# 7` has a fault, and `# 9` breaks it."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()

    def run(self, program: str, inputs: list[str], **_: object) -> Report:
        self.ran[program] += 1
        if program == "# 9":
            raise SandboxError("no child can be started")
        status = Status.FAULT if program == "# 7" else Status.OK
        return Report(True, None, tuple(Run(status, program[2:].encode() + b"\n") for _ in inputs))


def scorer_on(box: Box, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Scorer:
    scorer = Scorer(RewardConfig(withhold=()), workers=2, look=False, **settings)  # type: ignore[arg-type]
    monkeypatch.setattr(scorer, "_box", box)
    return scorer


pairs_of = st.lists(
    st.tuples(st.sampled_from([ECHO, PLUS]), st.integers(0, 8).map("# {}".format)), max_size=12
)


@settings(max_examples=60)
@given(pairs=pairs_of, others=pairs_of, cache=st.sampled_from([0, 3, 100]), random=st.randoms())
def test_begun_early_or_all_at_once_is_the_same(pairs, others, cache, random):
    """Whatever was begun, in whatever order, and others beside it: two rollouts, one after the other."""
    found, caches, ran = [], [], []
    for overlap in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            box = Box()
            with scorer_on(box, patch, cache_size=cache, overlap=overlap) as scorer:
                outcomes: list[list[Outcome | None]] = []
                for rollout in (pairs, [*others, *pairs]):
                    for problem, program in random.sample(rollout, random.randint(0, len(rollout))):
                        scorer.begin(problem, program)
                    heard: list[int] = []
                    outcomes.append(scorer.outcomes(rollout, heard.append))
                    assert heard == sorted(heard) and heard[-1] == len(rollout)
                    assert scorer._begun == {}
                found.append(outcomes)
                caches.append(list(scorer._cache))
                ran.append(box.ran)
                patch.undo()
    assert found[0] == found[1] and caches[0] == caches[1] and ran[0] == ran[1]
    assert all((o is None) == (p == "# 7") for (_, p), o in zip(pairs, found[0][0], strict=True))


def test_an_error_of_a_program_begun_early_reaches_who_asks(monkeypatch):
    """And its rollout alone: the next is scored."""
    with scorer_on(Box(), monkeypatch) as scorer:
        for program in ("# 1", "# 9", "# 2"):
            scorer.begin(ECHO, program)
        with pytest.raises(SandboxError, match="no child can be started"):
            scorer.outcomes([(ECHO, "# 1"), (ECHO, "# 9")])
        assert [o and o.passed for o in scorer.outcomes([(ECHO, "# 2"), (ECHO, "# 7")])] == [1, None]
        with pytest.raises(RewardError, match="'echo' has no tests"):
            scorer.begin(Problem("echo", "p", ()), "# 1")
        monkeypatch.undo()


def test_programs_run_while_nobody_waits_for_them(monkeypatch):
    ran = threading.Semaphore(0)
    box = Box()
    with scorer_on(box, monkeypatch) as scorer:
        plain = box.run
        monkeypatch.setattr(box, "run", lambda *a, **k: (plain(*a, **k), ran.release())[0])
        scorer.begin(ECHO, "# 1")
        scorer.begin(ECHO, "# 1")
        assert ran.acquire(timeout=60) and box.ran == {"# 1": 1}
        monkeypatch.undo()


PROGRAMS = [
    "print(int(input()) + 1)",
    "print(2)",
    "input()",
    "def (",
    "print(eval(input()) + 1)",
    "import os\nprint(os.getcwd(), int(input()) + 1)",
    "while True: pass",
    "n = int(input())\nprint(n + 1 if n == 1 else 1 / 0)",
]


def test_real_programs_begun_early_have_the_same_record() -> None:
    """Sentinels with their second runs, findings, order of the tests: all that samples.jsonl keeps."""
    pairs = [(PLUS, program) for program in PROGRAMS] * 2 + [(ECHO, PROGRAMS[0])]
    written = []
    for overlap in (True, False):
        with Scorer(limits=Limits(cpu_seconds=0.2), workers=2, seed=3, overlap=overlap) as scorer:
            for problem, program in reversed(pairs):
                scorer.begin(problem, program)
            rewards = scorer.score(pairs)
            written.append(json.dumps([r and [r.total, r.metrics, r.record] for r in rewards]))
    assert written[0] == written[1]


@pytest.mark.usefixtures("own_processes")
@pytest.mark.parametrize("error", [KeyboardInterrupt, None])
def test_what_nobody_asks_for_ends_with_the_scorer(error) -> None:
    """Ctrl-C in the middle of a rollout: no thread and no process stays, and no loop is waited for."""
    before = set(threading.enumerate())
    endless = [f"while {n}: pass" for n in range(1, 20)]
    try:
        with Scorer(limits=Limits(cpu_seconds=30.0), workers=2) as scorer:
            servers = [pid for worker in scorer._box._workers for pid in worker.pids]
            for program in endless if error else ("print(1)", "print(2)", "print(3)"):
                scorer.begin(PLUS, program)
            futures = list(scorer._begun.values())
            if error:
                while not any(future.running() for future in futures):
                    time.sleep(0.01)
                raise error
    except KeyboardInterrupt:
        pass
    assert all(future.cancelled() or not error or future.exception() for future in futures)
    assert set(threading.enumerate()) <= before
    assert len(servers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in servers)
