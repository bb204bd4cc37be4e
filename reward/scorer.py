"""From (problem, program) pairs to outcomes and rewards: the sandbox runs, the analyser scans.

    1 check   every problem has tests and a known comparison, or RewardError before anything runs
    2 reuse   the same program on the same tests is run once, in a batch and across batches
    3 run     each program on all of its inputs, programs in parallel; nothing after a failure to compile
    4 scan    what compiled, with Bandit, in processes of its own
    5 look    for signs of playing the reward (sentinels.py); the suspicious few are run again
    6 judge   reports -> outcomes -> rewards, in the order of the pairs

Expected outputs stay in this process: the sandbox is handed inputs, and asks back (`accept`) whether a run
was right. With `share_children` the next input may be run in the child of a right run, which costs a fraction
of a fresh one. Every test given is run and counted.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType

from data.problems import Problem, TestCase
from reward.compare import Policy, RewardError, parse_policy
from reward.hacking import sentinels
from reward.objective import Reward, RewardConfig, objective
from reward.outcome import Outcome, has_fault, is_pass, judge
from reward.scan.analyser import Analyser
from reward.security import NOT_PARSED, Scan, mark_given
from sandbox import Limits, Report, Run, Sandbox, SandboxError

Key = tuple[bytes, tuple[TestCase, ...], str, str]
Progress = Callable[[int], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One program on one problem, checked and encoded."""

    problem: str  # its id, to name it where something fails
    program: str
    source: bytes  # the program in UTF-8
    inputs: tuple[str, ...]
    expected: tuple[bytes, ...]
    policy: Policy
    prompt: str  # what is wrong in its code is not the program's fault
    key: Key  # the limits are the scorer's, so they need not be part of it

    def passed(self, index: int, run: Run) -> bool:
        return is_pass(run, self.expected[index], self.policy.matches)


class Scorer:
    """Scores programs; owns a sandbox, so close it, or use it as a context manager.

    `limits`, `workers` and `isolation` are the sandbox's. `share_children`: False gives every input a fresh
    child. `look`: False leaves the sentinels out, and outcomes then say that nobody looked. `cache_size` 0
    keeps nothing. Methods may be called from several threads. Raises RewardError at once if Bandit is missing
    or of another version.
    """

    def __init__(
        self,
        config: RewardConfig | None = None,
        *,
        limits: Limits | None = None,
        workers: int | None = None,
        isolation: str = "auto",
        cache_size: int = 16384,
        share_children: bool = True,
        look: bool = True,
    ) -> None:
        self.config = config or RewardConfig()
        if self.config.withhold and not look:
            raise RewardError("withhold needs the sentinels: leave look at True")
        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self._share_children = share_children
        self._look = look
        self._cache: OrderedDict[Key, Outcome] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()  # guards the cache
        # Closed in reverse: submitted batches, then their runs, then the processes.
        with ExitStack() as stack:
            self._analyser = stack.enter_context(Analyser(workers, cache_size))
            self._box = stack.enter_context(Sandbox(limits or Limits(), workers=workers, isolation=isolation))
            # A thread per sandbox worker: it sleeps while the child runs, and scans while others run.
            self._threads = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="scorer"))
            self._batches = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="scorer-batch"))
            self._stack = stack.pop_all()

    def outcomes(
        self, pairs: Iterable[tuple[Problem, str]], progress: Progress = lambda done: None
    ) -> list[Outcome | None]:
        """What happened to each program, in order; None where the sandbox itself failed, retried or not.

        None, too, where judging a program raises, which is logged with the problem's id: its trouble alone.
        `progress(done)` is called in this thread, with the number of pairs that are done.
        """
        jobs = [_job(problem, program) for problem, program in pairs]  # all checks before the first run
        often = Counter(job.key for job in jobs)
        with self._lock:
            known = {job.key: self._cache.get(job.key) for job in jobs}
        new = {job.key: job for job in jobs if known[job.key] is None}
        running = {self._threads.submit(self._outcome, job): key for key, job in new.items()}
        try:
            progress(done := sum(often[key] for key in known.keys() - new.keys()))
            for future in as_completed(running):
                known[running[future]] = future.result()
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
        found = self.outcomes(pairs, progress)
        return [None if outcome is None else objective(outcome, self.config) for outcome in found]

    def submit(self, pairs: Iterable[tuple[Problem, str]]) -> Future[list[Reward | None]]:
        """`score` in the background, batches in order of submission."""
        return self._batches.submit(self.score, list(pairs))

    def close(self) -> None:
        """Wait for what was submitted, then end the sandbox. Closing twice does nothing."""
        self._stack.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # an error or Ctrl-C: what is under way is of no use, so do not wait for it
            self._box.close()
        self.close()

    def _outcome(self, job: _Job) -> Outcome | None:
        try:
            return self._judged(job)
        except (SandboxError, RewardError):
            raise  # of the machine, or of the settings: the other programs would meet it too
        except Exception:
            # Nothing in a program may raise here; where something does, the others keep their rewards.
            _log.exception("problem %r: a program could not be judged, and counts as a fault", job.problem)
            return None

    def _judged(self, job: _Job) -> Outcome | None:
        report = self._box.run(job.program, job.inputs, accept=job.passed if self._share_children else None)
        scan = NOT_PARSED  # what does not compile is not scanned: nothing of it could run
        if report.compiles and not has_fault(report):
            scan = self._scan(job)
        outcome = judge(report, job.expected, job.policy.matches, scan)
        if outcome is None or not outcome.compiles:
            return outcome
        signs = self._signs(job, report, outcome, scan) if self._look else None
        if signs is None and self._look:
            return None
        return replace(outcome, sentinels=signs)

    def _scan(self, job: _Job) -> Scan:
        scan = self._analyser.scan(job.source)
        if not scan.findings:  # nearly always; the prompt need not be looked at
            return scan
        given = self._analyser.given(job.prompt)
        return replace(scan, findings=mark_given(scan.findings, job.source, given))

    def _signs(self, job: _Job, report: Report, outcome: Outcome, scan: Scan) -> tuple[str, ...] | None:
        """The sentinels that fire; None after a sandbox fault in a rerun."""

        def rerun(text: str) -> Run | None:
            again = self._box.run(job.program, [text])
            return None if has_fault(again) or not again.compiles else again.runs[0]

        passed = [verdict.passed for verdict in outcome.verdicts]
        case = sentinels.Case(job.inputs, job.expected, report.runs, passed, scan.traits)
        return sentinels.look(case, rerun)

    def _remember(self, outcomes: dict[Key, Outcome | None]) -> None:
        """Keep the latest outcomes. Faults are not kept: the next attempt may succeed."""
        with self._lock:
            for key, outcome in outcomes.items():
                if outcome is not None:
                    self._cache[key] = outcome
                    self._cache.move_to_end(key)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)


def _job(problem: Problem, program: str) -> _Job:
    """Check a pair. RewardError names the problem; nothing about the program is an error."""
    if not problem.tests:
        raise RewardError(f"problem {problem.id!r} has no tests: there is nothing to score a program by")
    try:
        policy = parse_policy(problem.compare)
        expected = tuple(test.output.encode() for test in problem.tests)
    except ValueError as error:
        raise RewardError(f"problem {problem.id!r}: {error}") from None
    # A program arrives as text, so that an encoding named in it means nothing, here as in the scan. A lone
    # surrogate makes bytes that are not UTF-8: a program that does not compile, as it would be in a file.
    source = program.encode("utf-8", "surrogatepass")
    key = (hashlib.sha256(source).digest(), problem.tests, problem.compare, problem.prompt)
    inputs = tuple(test.input for test in problem.tests)
    return _Job(problem.id, program, source, inputs, expected, policy, problem.prompt, key)
