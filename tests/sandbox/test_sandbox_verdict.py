"""The verdict is a pure function of what the kernel said."""

import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Limits, Status
from sandbox.kernel.wire import Ended, Note, Reply, Request, Want
from sandbox.verdict import compile_failure, judge

LIMITS = Limits(cpu_seconds=1.0, memory_mb=100)


def reply(
    exit_code: int = 0, sig: int = 0, ended: Ended = Ended.ITSELF, cpu: float = 0.1, rss: int = 1
) -> Reply:
    return Reply(0, Note.COMPILED, ended, sig or exit_code << 8, cpu, 0.2, 0.0, rss)


def status(said: Reply, stderr: str = "", overflow: bool = False) -> Status:
    return judge(said, LIMITS, b"", stderr, overflow=overflow, read_input=False).status


@pytest.mark.parametrize(
    ("said", "stderr", "overflow", "expected"),
    [
        (reply(), "", False, Status.OK),
        (reply(1), "", False, Status.CRASH),
        (reply(sig=signal.SIGSEGV), "", False, Status.CRASH),
        (reply(sig=signal.SIGKILL, ended=Ended.CPU), "", False, Status.TIMEOUT),
        (reply(sig=signal.SIGKILL, ended=Ended.WALL), "", False, Status.TIMEOUT),
        (reply(sig=signal.SIGXCPU), "", False, Status.TIMEOUT),
        (reply(cpu=1.01), "", False, Status.TIMEOUT),
        (reply(sig=signal.SIGKILL, ended=Ended.MEMORY), "", False, Status.MEMORY),
        (reply(rss=100 * 1024 + 1), "", False, Status.MEMORY),
        (reply(1), "Traceback\nMemoryError\n", False, Status.MEMORY),
        (reply(0), "Traceback\nMemoryError\n", False, Status.OK),
        (reply(1), "MemoryError\nValueError: 1\n", False, Status.CRASH),
        (reply(), "", True, Status.OUTPUT),
        (reply(sig=signal.SIGXFSZ), "", False, Status.OUTPUT),
        (reply(sig=signal.SIGSYS), "", False, Status.DENIED),
    ],
)
def test_each_cause_has_its_status(said: Reply, stderr: str, overflow: bool, expected: Status) -> None:
    assert status(said, stderr, overflow) is expected


def test_precedence_is_time_memory_output_crash() -> None:
    everything = reply(1, cpu=2.0, rss=1 << 20)
    assert status(everything, overflow=True) is Status.TIMEOUT
    assert status(everything._replace(cpu_seconds=0.1), overflow=True) is Status.MEMORY
    assert status(reply(1), overflow=True) is Status.OUTPUT


@settings(deadline=None)
@given(st.integers(0, 255), st.floats(0, 3), st.integers(0, 1 << 18), st.booleans(), st.sampled_from(Ended))
def test_ok_means_exit_status_0_within_every_limit(
    code: int, cpu: float, rss: int, overflow: bool, ended: Ended
) -> None:
    within = (
        code == 0
        and cpu <= 1.0
        and rss <= 100 * 1024
        and not overflow
        and ended in (Ended.ITSELF, Ended.WAITING)
    )
    assert (status(reply(code, ended=ended, cpu=cpu, rss=rss), overflow=overflow) is Status.OK) == within


def test_exit_code_and_signal_exclude_each_other() -> None:
    by_exit, by_signal = (
        judge(said, LIMITS, b"", "", overflow=False, read_input=False)
        for said in (reply(3), reply(sig=signal.SIGSEGV))
    )
    assert (by_exit.exit_code, by_exit.signal) == (3, None)
    assert (by_signal.exit_code, by_signal.signal) == (None, signal.SIGSEGV)


def test_a_compile_failure_always_has_a_cause() -> None:
    for said in (reply(1), reply(sig=signal.SIGSEGV), reply(cpu=2.0), reply(rss=1 << 20)):
        assert compile_failure(judge(said, LIMITS, b"", "", overflow=False, read_input=False), LIMITS)


def test_messages_survive_the_wire() -> None:
    request = Request(Want.RUN, False, 0.5, 2.5, 1 << 40, 123)
    assert Request.unpack(request.pack()) == request
    said = reply(7, ended=Ended.WALL, cpu=0.25)
    assert Reply.unpack(said.pack()) == said
