"""A process in which no image ends is ended, whatever its code does; one that goes on is not."""

import subprocess
import sys
import time
from threading import Event

import pytest

from sam_batch.job.deadline import Watchdog, never, worker_deadline

HANGS = {
    "asleep": "time.sleep(60)",
    "in C, with the interpreter's lock": "ctypes.PyDLL(None).sleep(60)",
}


@pytest.mark.parametrize("hang", HANGS)
def test_a_worker_that_hangs_is_ended_and_its_log_says_where(hang):
    program = f"""
import ctypes, time
from sam_batch.job.deadline import worker_deadline
with worker_deadline(0.3):
    {HANGS[hang]}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 1
    assert "line 5 in <module>" in ended.stderr


def test_a_worker_whose_images_end_in_time_lives():
    with worker_deadline(5.0) as renew:
        renew(1)
        renew(0)
    with worker_deadline(0.2):
        pass
    time.sleep(0.3)


def test_a_watchdog_barks_once_when_no_image_ends():
    barks, barked = [], Event()
    with Watchdog(0.02, lambda: (barks.append(1), barked.set())):
        assert barked.wait(10)
        time.sleep(0.1)
    assert barks == [1]


def test_a_watchdog_is_quiet_while_images_end_and_after_the_last():
    barked = Event()
    with Watchdog(2.0, barked.set) as renew:
        for _ in range(5):
            time.sleep(0.5)
            renew(1)
    assert not barked.wait(2.1)


def test_an_image_of_many_views_has_more_time():
    barked = Event()
    with Watchdog(0.1, barked.set) as renew:
        renew(1000)
        assert not barked.wait(0.5)
    never(1)
