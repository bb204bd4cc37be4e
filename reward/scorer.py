"""From (problem, program) pairs to outcomes and rewards: the sandbox runs, the analyser scans.

    1 check   every problem has tests and a known comparison, or RewardError before anything runs
    2 reuse   the same program on the same tests is run once, in a batch and across batches
    3 run     each program on all of its inputs, programs in parallel; nothing after a failure to compile
    4 scan    what compiled, with Bandit
    5 judge   reports -> outcomes -> rewards, in the order of the pairs

Expected outputs stay in this process: the sandbox is handed inputs, and asks back (`accept`) whether a run
was right. A sandbox may let the next input share the child of a right run; the present one starts a fresh
child for every input. Every test given is run and counted.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from data.problems import Problem, TestCase
from reward.compare import Policy, RewardError, parse_policy
from reward.objective import Reward, RewardConfig, objective
from reward.outcome import Outcome, has_fault, is_pass, judge
from reward.security import NOT_PARSED, Analyser
from sandbox import Limits, Run, Sandbox

Key = tuple[bytes, tuple[TestCase, ...], str]


@dataclass(frozen=True)
class _Job:
    """One program on one problem, checked and encoded."""

    program: bytes
    inputs: tuple[str, ...]
    expected: tuple[bytes, ...]
    policy: Policy
    key: Key  # the limits are the scorer's, so they need not be part of it

    def passed(self, index: int, run: Run) -> bool:
        return is_pass(run, self.expected[index], self.policy.matches)


class Scorer:
    """Scores programs; owns a sandbox, so close it, or use it as a context manager.

    `limits`, `workers` and `isolation` are the sandbox's. Methods may be called from several threads.
    Raises RewardError at once if Bandit is missing or of another version.
    """

    def __init__(
        self,
        config: RewardConfig | None = None,
        *,
        limits: Limits | None = None,
        workers: int | None = None,
        isolation: str = "auto",
        cache_size: int = 16384,
    ) -> None:
        self.config = config or RewardConfig()
        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self._analyser = Analyser(cache_size)
        self._cache: OrderedDict[Key, Outcome] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()  # guards the cache
        with ExitStack() as stack:  # closed in reverse: submitted batches, then their runs, then the sandbox
            self._box = stack.enter_context(Sandbox(limits or Limits(), workers=workers, isolation=isolation))
            # A thread per sandbox worker: it sleeps while the child runs, and scans while others run.
            self._threads = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="scorer"))
            self._batches = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="scorer-batch"))
            self._stack = stack.pop_all()

    def outcomes(self, pairs: Iterable[tuple[Problem, str]]) -> list[Outcome | None]:
        """What happened to each program, in order; None where the sandbox itself failed, retried or not."""
        jobs = [_job(problem, program) for problem, program in pairs]  # all checks before the first run
        with self._lock:
            known = {job.key: self._cache.get(job.key) for job in jobs}
        new = {job.key: job for job in jobs if known[job.key] is None}
        running = {key: self._threads.submit(self._outcome, job) for key, job in new.items()}
        try:
            known |= {key: future.result() for key, future in running.items()}
        finally:
            for future in running.values():  # after an error the rest of the batch is of no use
                future.cancel()
        self._remember(known)
        return [known[job.key] for job in jobs]

    def score(self, pairs: Iterable[tuple[Problem, str]]) -> list[Reward | None]:
        """The reward of each program under this scorer's configuration, in order; None for a fault."""
        found = self.outcomes(pairs)
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
        if (
            kind is not None
        ):  # leaving in an error or by Ctrl-C: what is under way is of no use, so do not wait for it
            self._box.close()
        self.close()

    def _outcome(self, job: _Job) -> Outcome | None:
        report = self._box.run(job.program, job.inputs, accept=job.passed)
        # Only what the sandbox compiled, within its limits, is parsed in this process.
        scan = self._analyser.scan(job.program) if report.compiles and not has_fault(report) else NOT_PARSED
        return judge(report, job.expected, job.policy.matches, scan)

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
    # A lone surrogate makes bytes that are not UTF-8: a program that does not compile, as it would be in a
    # file.
    source = program.encode("utf-8", "surrogatepass")
    key = (hashlib.sha256(source).digest(), problem.tests, problem.compare)
    return _Job(source, tuple(test.input for test in problem.tests), expected, policy, key)
