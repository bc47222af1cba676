"""Work in a process of its own: it answers, or dies alone; its limits hold; it ends with its parent."""

import contextlib
import errno
import mmap
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sam_batch.data import sandbox as module
from sam_batch.data.sandbox import Sandbox
from sam_batch.errors import FailureKind, ImageError, JobError

LIMITS = {"seconds": 50, "memory": 1 << 30, "grant": lambda wanted: 1 << 30}


@pytest.fixture(scope="module")
def lasting():
    """One that tests share which let it live."""
    with contextlib.closing(Sandbox("support.sandboxed:obey")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox():
    with contextlib.closing(Sandbox("support.sandboxed:obey")) as sandbox:
        yield sandbox


@given(
    values=st.lists(
        st.binary(max_size=50) | st.integers() | arrays.arrays(st.sampled_from([np.uint8, np.float64]), (3, 5))
    )
)
def test_what_goes_in_comes_out(lasting, values):
    sent = [pickle.PickleBuffer(value) if isinstance(value, bytes) else value for value in values]
    back = lasting.call("echo", sent, **LIMITS)
    assert [type(value) for value in back] == [type(value) for value in values]
    for value, one in zip(values, back, strict=True):
        np.testing.assert_array_equal(value, one)


@pytest.mark.parametrize("size", [0, 1, module._LEAST_SHARED + 1, module._MOST_KEPT + 1, 7])
def test_large_messages_go_through_memory_that_is_given_back(lasting, size):
    pid = lasting.pid
    assert lasting.call("echo", pickle.PickleBuffer(bytes(size)), **LIMITS) == bytes(size)
    assert os.fstat(lasting._channel.memory).st_size <= module._MOST_KEPT
    assert lasting.pid == pid


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_of_a_call_outlives_it(lasting):
    lasting.call("echo", pickle.PickleBuffer(bytes(module._MOST_KEPT + 1)), **LIMITS)
    statm = Path(f"/proc/{lasting.pid}/statm")
    for _ in range(100):
        if int(statm.read_text().split()[1]) * mmap.PAGESIZE < module._MOST_KEPT:
            return
        time.sleep(0.02)
    pytest.fail("it keeps what it was given")


@pytest.mark.parametrize(
    ("order", "argument", "words"),
    [
        ("die", signal.SIGSEGV, "died of signal 11 (SIGSEGV)"),
        ("die", signal.SIGKILL, "died of signal 9 (SIGKILL)"),
        ("die", signal.SIGRTMIN + 1, f"died of signal {signal.SIGRTMIN + 1}"),
        ("exit", 3, "ended with exit code 3"),
    ],
)
def test_how_it_died_is_told(sandbox, order, argument, words):
    with pytest.raises(ImageError) as caught:
        sandbox.call(order, argument, **LIMITS)
    assert (caught.value.kind, str(caught.value)) == (FailureKind.WORKER_CRASH, f"its decoder {words}")


@pytest.mark.parametrize("order", ["sleep", "sleep with the interpreter's lock"])
def test_what_does_not_end_in_time_is_ended(sandbox, order):
    with pytest.raises(ImageError, match=r"within 0\.2 s") as caught:
        sandbox.call(order, 60, **LIMITS | {"seconds": 0.2})
    assert caught.value.kind is FailureKind.TIMED_OUT


def test_to_wait_for_memory_takes_no_time_of_its_own(lasting):
    def grant(wanted):
        time.sleep(0.6)
        return wanted

    assert lasting.call("reserve", 1 << 30, **LIMITS | {"seconds": 0.5, "grant": grant}) == "done"
    assert lasting.call("sleep", 0.6, **LIMITS) == "done"  # no clock is left behind


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_it_gets_the_memory_that_it_is_granted_and_no_more():
    with contextlib.closing(Sandbox("support.sandboxed:take")) as sandbox:

        def take(count, before, memory, granted):
            return sandbox.call(count, before, seconds=50, memory=memory, grant=lambda wanted: granted)

        large, small = 80 << 20, 40 << 20
        assert take(large, True, small, large) == "none left"
        assert take(large, False, small, small) == "none left"
        assert take(large, False, small, large + small) == f"{large} bytes"
        assert take(large, True, large + small, 0) == f"{large} bytes"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_all_of_a_group_are_left_to_the_parent(sandbox, number):
    os.kill(sandbox.pid, number)  # as it starts
    assert number in sandbox.call("blocked", **LIMITS)
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_one_that_cannot_start_is_no_images_fault(capfd):
    broken = contextlib.closing(Sandbox("support.sandboxed:nothing_of_that_name"))
    with broken as sandbox, pytest.raises(JobError, match="ended with exit code 1 as it started"):
        sandbox.call(**LIMITS)
    assert "nothing_of_that_name" in capfd.readouterr().err


def test_a_system_without_room_for_it_is_no_images_fault_either(monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(OSError, match="Resource temporarily unavailable"):
        Sandbox("support.sandboxed:obey")


def test_one_that_died_while_nobody_needed_it_is_told_by_its_next_call(sandbox):
    sandbox.call("echo", **LIMITS)
    os.kill(sandbox.pid, signal.SIGKILL)
    with pytest.raises(ImageError, match="SIGKILL"):
        sandbox.call("echo", **LIMITS)


def test_one_that_lets_go_and_stays_is_ended(sandbox, monkeypatch):
    monkeypatch.setattr(module, "_LEAVES_IN_SECONDS", 0.1)
    sandbox.call("echo", **LIMITS)
    os.kill(sandbox.pid, signal.SIGSTOP)
    assert sandbox._exit_code() == -signal.SIGKILL


def test_closing_it_ends_it():
    sandbox = Sandbox("support.sandboxed:obey")
    sandbox.close()
    assert not Path(f"/proc/{sandbox.pid}").exists()


PARENT = """
import sys
sys.path[:] = {path!r}
from sam_batch.data.sandbox import Sandbox
sandbox = Sandbox("support.sandboxed:obey")
sandbox.call("echo", seconds=50, memory=1 << 30, grant=None)
print(sandbox.pid, flush=True)
sandbox.call("sleep", 100, seconds=200, memory=1 << 30, grant=None)
"""


def test_a_parent_that_is_killed_leaves_none_behind():
    program = [sys.executable, "-c", PARENT.format(path=sys.path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
        assert parent.stdout.read() == ""  # ends when nobody has this pipe any more
    assert wait_for_the_end_of(pid)


def wait_for_the_end_of(pid):
    for _ in range(500):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.02)
                continue
        return True
    return False
