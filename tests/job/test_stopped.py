"""A worker that is stopped is ended by a process beside it; one that goes on in time is not."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import drivers
from support.jobs import draw_photographs, job_config, result_files, run
from support.ray_processes import strike

from sam_batch.job.stopped import state_of

pytestmark = pytest.mark.skipif(not state_of(os.getpid()), reason="processes are looked at in /proc")
STOPS = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"


@pytest.fixture
def start():
    """Starts a process that is ended when it is stopped for so many seconds, and then runs some code."""

    def start(seconds, code):
        program = f"from sam_batch.job.stopped import end_when_stopped; end_when_stopped({seconds}); {code}"
        processes.append(subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True))
        return processes[-1]

    processes = []
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_process_that_is_stopped_is_ended_and_its_log_says_why(start):
    process = start(0.2, STOPS)
    _, told = process.communicate(timeout=50)
    assert process.returncode == -signal.SIGKILL
    assert told == f"worker {process.pid} was stopped for 0.2 s: it is ended\n"


def test_a_process_that_goes_on_in_time_lives(start):
    process = start(100, STOPS)
    while state_of(process.pid) != "T":
        time.sleep(0.01)
    process.send_signal(signal.SIGCONT)
    assert process.wait(50) == 0


def test_a_process_that_works_or_waits_lives_and_its_clock_ends_with_it(start):
    process = start(0.1, "import time; time.sleep(1)")
    _, told = process.communicate(timeout=50)  # both have ended: the log is closed
    assert (process.returncode, told) == (0, "")


@pytest.mark.ray
@pytest.mark.slow  # half a minute passes until a stopped process is taken for broken
@pytest.mark.parametrize("actors", [1, 2])
def test_a_job_of_which_an_engine_is_stopped_ends_as_ever(tmp_path, actors):
    draw_photographs(tmp_path / "photos", 60)
    run(job_config(tmp_path / "photos", tmp_path / "clean"))
    how = {"executor": "ray", "actors": actors, "stall_timeout_seconds": 90}
    driver = drivers.start(job_config(tmp_path / "photos", tmp_path / "out", run=how))
    strike(driver.pid, "actor at work", signal.SIGSTOP, lambda: not driver.is_alive())
    driver.join(2 * drivers.PATIENCE)
    assert driver.exitcode == 0
    assert result_files(tmp_path / "out") == result_files(tmp_path / "clean")
