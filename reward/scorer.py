"""From (problem, program) pairs to outcomes and rewards: the sandbox runs, the analyser scans.

    1 check   every problem has tests and a known comparison, or RewardError before anything runs; for facts
              alone (`judge`) a task that measures security may be without: its programs are compiled, not run
    2 reuse   the same program on the same tests is run once, in a batch, across batches, and if begun early
    3 run     each program on all of its inputs, in an order of its own, programs in parallel; nothing after a
              failure to compile, and nothing more once it has taken all its time too often (budget.py)
    4 scan    what compiled, with Bandit, in processes of its own
    5 look    for signs of playing the reward (sentinels.py); the suspicious few are run again
    6 judge   reports -> outcomes -> rewards, in the order of the pairs

Of a function-call task, each run calls the program's function, under data/harness.py. Expected outputs stay
in this process: the sandbox is handed inputs. Every test given counts, and is run
unless the program's time is used up.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

from data.problems import Problem
from reward.budget import ScoringConfig, order
from reward.compare import RewardError
from reward.hacking import sentinels
from reward.hacking.asking import CALLS, STDIN
from reward.job import Job, Key, job_of
from reward.kept import Kept
from reward.objective import Reward, RewardConfig, objective
from reward.outcome import Outcome, has_fault, judge, weight
from reward.scan.analyser import Analyser
from reward.scanned import Scanned
from reward.security import NOT_PARSED, Scan, mark_given
from sandbox import Limits, Report, Run, Sandbox, SandboxError, Status, overstay

Progress = Callable[[int], None]
_log = logging.getLogger(__name__)
CACHE_BYTES = 100 << 20  # of outcomes that are kept, which is 6 KB for each of 16,384


class Scorer:
    """Scores programs; owns a sandbox, so close it, or use it as a context manager.

    `limits`, `workers` and `isolation` are the sandbox's; `max_overstays`, `share_children`, `packages` and
    `overlap` are those of `ScoringConfig`. `seed`: the run's, from which the order of the tests follows.
    `look`: False leaves the sentinels out, and outcomes then say that nobody looked. Of outcomes the latest
    `cache_size` are kept, or fewer that fill CACHE_BYTES; 0 keeps nothing. Methods may be called from several
    threads. Raises RewardError at once if Bandit is missing or of another version.
    """

    def __init__(
        self,
        config: RewardConfig | None = None,
        *,
        limits: Limits | None = None,
        workers: int | None = None,
        isolation: str = "auto",
        cache_size: int = 16384,
        max_overstays: int = ScoringConfig.max_overstays,
        share_children: bool = ScoringConfig.share_children,
        packages: tuple[str, ...] = ScoringConfig.packages,
        overlap: bool = ScoringConfig.overlap,
        seed: int = 0,
        look: bool = True,
    ) -> None:
        self.config = config or RewardConfig()
        if self.config.withhold and not look:
            raise RewardError("withhold needs the sentinels: leave look at True")
        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self._scoring = ScoringConfig(max_overstays, share_children, packages, overlap)
        self._limits = limits or Limits()
        self._seed = seed
        self._look = look
        self._cache: Kept[Key, Outcome] = Kept(cache_size, CACHE_BYTES, weight)
        self._begun: dict[Key, Future[tuple[Outcome | None, float]]] = {}
        self._lock = threading.Lock()  # guards the cache and what was begun
        # Closed in reverse: submitted batches, then their runs, then the processes.
        with ExitStack() as stack:
            self._analyser = stack.enter_context(Analyser(workers, cache_size))
            self._box = stack.enter_context(
                Sandbox(self._limits, workers=workers, isolation=isolation, packages=packages)
            )
            # A thread per sandbox worker: it sleeps while the child runs, and scans while others run.
            self._threads = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="scorer"))
            self._batches = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="scorer-batch"))
            self._stack = stack.pop_all()

    def begin(self, problem: Problem, program: str) -> None:
        """Run a program in the background, ahead of the call of `outcomes` or `score` that asks for it.

        That call says the same as ever; without it nothing is heard of the program. Does nothing where
        `overlap` is off.
        """
        if not self._scoring.overlap:
            return
        job = job_of(problem, program, self._limits)
        with self._lock:
            if job.key not in self._begun and job.key not in self._cache:
                self._begun[job.key] = self._threads.submit(self._timed_outcome, job)

    def outcomes(
        self,
        pairs: Iterable[tuple[Problem, str]],
        progress: Progress = lambda done: None,
        *,
        timed: Callable[[float, str], None] = lambda seconds, problem: None,
    ) -> list[Outcome | None]:
        """What happened to each program, in order; None where the sandbox itself failed, retried or not.

        None, too, where judging a program raises, which is logged with the problem's id: its trouble alone.
        `progress(done)` is called in this thread, with the number of pairs that are done, and
        `timed(seconds, problem id)` for each program that was run.
        """
        # All checks before the first run.
        jobs = [job_of(problem, program, self._limits) for problem, program in pairs]
        often = Counter(job.key for job in jobs)
        with self._lock:
            known = {job.key: self._cache.get(job.key) for job in jobs}
            new = {job.key: job for job in jobs if known[job.key] is None}
            begun = {key: self._begun.pop(key) for key in new if key in self._begun}
        started = {
            key: self._threads.submit(self._timed_outcome, new[key]) for key in new if key not in begun
        }
        running = {future: key for key, future in (begun | started).items()}
        try:
            progress(done := sum(often[key] for key in known.keys() - new.keys()))
            for future in as_completed(running):
                known[running[future]], seconds = future.result()
                timed(seconds, new[running[future]].problem.id)
                progress(done := done + often[running[future]])
        finally:
            for future in running:  # after an error the rest of the batch is of no use
                future.cancel()
        self._remember(known)
        return [known[job.key] for job in jobs]

    def score(
        self, pairs: Iterable[tuple[Problem, str]], progress: Progress = lambda done: None
    ) -> list[Reward | None]:
        """The reward of each program under this scorer's configuration, in order; None for a fault."""
        pairs = list(pairs)
        if unpaid := [problem.id for problem, _ in pairs if not problem.tests and problem.cwe is not None]:
            raise RewardError(f"problem {unpaid[0]!r} has no tests: its programs can be scanned, not paid")
        found = self.outcomes(pairs, progress)
        return [None if outcome is None else objective(outcome, self.config) for outcome in found]

    def judge(self, pairs: Iterable[tuple[Problem, str]]) -> list[Reward | Scanned | None]:
        """`score`, where programs of tasks without tests are told what the scan says."""
        return [
            None
            if outcome is None
            else objective(outcome, self.config)
            if outcome.num_tests
            else Scanned(outcome)
            for outcome in self.outcomes(pairs)
        ]

    def submit(self, pairs: Iterable[tuple[Problem, str]]) -> Future[list[Reward | None]]:
        """`score` in the background, batches in order of submission."""
        return self._batches.submit(self.score, list(pairs))

    def close(self) -> None:
        """Wait for what was submitted, then end the sandbox. Closing twice does nothing."""
        with self._lock:
            unheard, self._begun = self._begun, {}
        for future in unheard.values():
            future.cancel()
        self._stack.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # an error or Ctrl-C: what is under way is of no use, so do not wait for it
            self._box.close()
        self.close()

    def _timed_outcome(self, job: Job) -> tuple[Outcome | None, float]:
        start = time.perf_counter()
        return self._outcome(job), time.perf_counter() - start

    def _outcome(self, job: Job) -> Outcome | None:
        try:
            return self._judged(job)
        except (SandboxError, RewardError):
            raise  # of the machine, or of the settings: the other programs would meet it too
        except Exception:
            # Nothing in a program may raise here; where something does, the others keep their rewards.
            _log.exception("problem %r: a program could not be judged, and counts as a fault", job.problem.id)
            return None

    def _judged(self, job: Job) -> Outcome | None:
        report = self._run(job)
        scan = NOT_PARSED  # what does not compile is not scanned: nothing of it could run
        if report.compiles and not has_fault(report):
            scan = self._scan(job)
        calls = job.harness is not None
        outcome = judge(report, job.expected, job.policy.matches, scan, job.inputs, calls=calls)
        if outcome is not None and not job.problem.tests:
            return replace(outcome, sentinels=None)  # nothing was run that could be looked at
        if outcome is None or not outcome.compiles:
            return outcome
        if not self._look:
            return replace(outcome, sentinels=None)
        signs = self._signs(job, report, outcome, scan)
        return None if signs is None else replace(outcome, sentinels=signs)

    def _run(self, job: Job) -> Report:
        """The report, its runs in the order of the tests."""
        tests = job.problem.tests
        asked = order(self._seed, job.source, tests)
        report = self._box.run(
            job.program,
            [tests[i].input for i in asked],
            accept=_always if self._scoring.share_children else None,
            max_overstays=self._scoring.max_overstays,
            harness=job.harness,
        )
        if len(report.runs) != len(asked):  # it does not compile, or `judge` will say what is wrong
            return report
        back = dict(zip(asked, report.runs, strict=True))
        return replace(report, runs=tuple(back[i] for i in range(len(asked))))

    def _scan(self, job: Job) -> Scan:
        scan = self._analyser.scan(job.source)
        if not scan.findings:  # nearly always; the prompt need not be looked at
            return scan
        given = self._analyser.given(job.given)
        return replace(scan, findings=mark_given(scan.findings, job.source, given))

    def _signs(self, job: Job, report: Report, outcome: Outcome, scan: Scan) -> tuple[str, ...] | None:
        """The sentinels that fire; None after a sandbox fault in a rerun."""

        left = self._scoring.max_overstays - sum(overstay(run, self._limits) for run in report.runs)

        def rerun(text: str) -> Run | None:
            nonlocal left
            if left <= 0:
                return Run(Status.SKIPPED)
            again = self._box.run(job.program, [text], harness=job.harness)
            if has_fault(again) or not again.compiles:
                return None
            left -= overstay(again.runs[0], self._limits)
            return again.runs[0]

        passed = [verdict.passed for verdict in outcome.verdicts]
        asking = STDIN if job.harness is None else CALLS
        case = sentinels.Case(job.inputs, job.expected, report.runs, passed, scan.traits, asking)
        return sentinels.look(case, rerun)

    def _remember(self, outcomes: dict[Key, Outcome | None]) -> None:
        """Keep the latest outcomes. Faults are not kept: the next attempt may succeed."""
        with self._lock:
            for key, outcome in outcomes.items():
                if outcome is not None:
                    self._cache.put(key, outcome)


def _always(index: int, run: Run) -> bool:
    """What a run wrote says nothing of whether its child may be used again: that is the sandbox's to know."""
    return True
