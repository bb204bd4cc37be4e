"""Steps as processes: their order, how many at a time, what fails, what an interruption leaves."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from forks import FORKS
from processes import killed, wait_until

from cli.study.jobs import _share, run_steps
from cli.study.steps import Step

SCRIPT = """
import os, pathlib, signal, sys, time
target, folder = map(pathlib.Path, sys.argv[1:3])
seconds, status = map(float, sys.argv[3:])
signal.signal(signal.SIGINT, lambda *_: (print("saved", flush=True), sys.exit(130)))
mark = folder / f"{target.name}.running"
mark.write_text(str(os.getpid()))
start = time.monotonic()
while time.monotonic() < start + seconds or (seconds < 0 and len(list(folder.glob("*.running"))) < 2):
    time.sleep(0.005)
if status:
    print("error: it cannot be done")
    sys.exit(int(status))
target.write_text(f"{start} {time.monotonic()}")
"""
MEET = -1.0
"""Seconds of a step that waits until another one has begun."""


class Job:
    """Steps that take a while and write their name, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.script, self.steps = folder, folder / "script.py", []
        self.script.write_text(SCRIPT)

    def add(self, name, *needs, seconds=0.0, status=0):
        target = self.folder / name
        fresh = (str(self.script), str(target), str(self.folder), str(seconds), str(status))
        self.steps.append(Step(name, target, fresh, None, needs))

    def run(self, jobs=1, said=None):
        say = [].append if said is None else said.append
        return run_steps(
            self.steps, jobs, times=self.folder / "times.json", logs=self.folder / "logs", say=say
        )

    def done(self):
        return {step.name for step in self.steps if step.done}


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def test_each_step_comes_after_those_that_it_needs(job):
    job.add("sft", seconds=0.1)
    job.add("ppo", "sft")
    job.add("evaluate", "ppo", "sft")
    assert job.run(jobs=3) == {}
    spans = [(job.folder / name).read_text().split() for name in ("sft", "ppo", "evaluate")]
    times = [float(time) for span in spans for time in span]
    assert times == sorted(times)
    assert set(json.loads((job.folder / "times.json").read_text())) == {"sft", "ppo", "evaluate"}


def test_jobs_run_at_the_same_time(job):
    """Each of the two waits for the other."""
    job.add("a", seconds=MEET)
    job.add("b", seconds=MEET)
    assert job.run(jobs=2) == {} and job.done() == {"a", "b"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_so_many_run_and_no_more(job, jobs):
    for number in range(4):
        job.add(f"s{number}", seconds=0.05)
    assert job.run(jobs=jobs) == {}
    spans = [tuple(map(float, (job.folder / name).read_text().split())) for name in job.done()]
    assert len(spans) == 4
    assert all(sum(start <= begun < end for start, end in spans) <= jobs for begun, _ in spans)


def test_what_fails_stops_only_what_needs_it(job):
    job.add("bad", status=2)
    job.add("after", "bad")
    job.add("later", "after")
    job.add("good")
    failed = job.run()
    assert job.done() == {"good"} and set(failed) == {"bad", "after", "later"}
    assert failed["bad"].startswith("exit status 2: error: it cannot be done (")
    assert failed["after"] == "not begun, it needs bad"


def test_what_is_done_stays_and_what_it_feeds_is_made_anew(job):
    job.add("sft")
    job.add("ppo", "sft")
    job.add("other")
    assert job.run() == {}
    before = {name: (job.folder / name).read_text() for name in job.done()}
    (job.folder / "sft").unlink()
    assert job.run() == {}
    after = {name: (job.folder / name).read_text() for name in job.done()}
    assert {name for name in after if after[name] != before[name]} == {"sft", "ppo"}


def test_a_step_that_ends_well_and_leaves_nothing_has_failed(job):
    job.add("empty")
    job.script.write_text("")
    assert "is missing though it ended well" in job.run()["empty"]


@pytest.mark.parametrize("others", [[], ["next"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_lets_steps_save_and_begins_no_other(job, number, others):
    job.add("long", seconds=60)
    for name in others:
        job.add(name)

    def interrupt():
        while not (job.folder / "long.running").exists():
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert job.done() == set()
    assert (job.folder / "logs" / "long.log").read_text().endswith("saved\n")
    assert "long" in json.loads((job.folder / "times.json").read_text())


@pytest.mark.slow
def test_steps_do_not_outlive_a_study_that_is_killed(job):
    """They get SIGTERM, upon which a run saves and ends: the next try does not find its folder taken."""
    job.add("long", seconds=60)
    process = FORKS.Process(target=job.run)
    process.start()
    mark = job.folder / "long.running"
    wait_until(lambda: mark.exists() and mark.read_text() != "")
    killed(process)
    step = int(mark.read_text())
    wait_until(lambda: state_of(step) == "Z")


def state_of(pid: int) -> str:
    """A zombie is Z: it has ended, and nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_times_add_up_over_what_was_cut_off(job):
    job.add("step", status=2)
    times = job.folder / "times.json"
    assert "step" in job.run()
    once = json.loads(times.read_text())["step"]
    times.write_text(json.dumps({"step": {"cpu_minutes": 1.0, "minutes": 2.0}}))
    assert "step" in job.run()
    twice = json.loads(times.read_text())["step"]
    assert 1.0 <= twice["cpu_minutes"] <= 1.1 and 2.0 <= twice["minutes"] and once.keys() == twice.keys()


def test_jobs_share_the_cores(monkeypatch):
    """Each core belongs to a job, and none to more jobs than there have to be."""
    for cores in (1, 2, 3, 16):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        for jobs in (2, 3, 5, 16):
            shares = [_share(slot, jobs) for slot in range(jobs)]
            assert all(shares) and set().union(*shares) == set(range(cores))
            if jobs <= cores:
                assert sum(map(len, shares)) == cores
    assert _share(0, 1) is None
