"""Ends a worker that somebody has stopped (SIGSTOP): its own clocks stop with it, and Ray (2.60) would wait for it.

The clock is a child of the worker, and this module is the child's program too: it takes nothing but the standard
library. Whoever stops a whole group of processes, as a shell does at Ctrl-Z, or Slurm as it suspends a job, stops the
clocks as well, and nothing is ended. Where there is no /proc, `run.stall_timeout_seconds` has to end the job.
"""

import atexit
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

STOPPED_S = 30.0
LOOKS = 10  # in that time


@cache
def end_when_stopped(seconds: float = STOPPED_S) -> None:
    """From now on end this process when it is stopped for so many seconds in a row.

    Args:
        seconds: That pass for its clock; at the next look after them it is killed.
    """
    if state_of(os.getpid()):
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(seconds)]
        clock = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - this very module
        atexit.register(_end, clock)


def _end(clock: subprocess.Popen[bytes]) -> None:
    clock.kill()
    clock.wait()


def state_of(pid: int) -> str:
    """A process's state, one letter as in proc(5); empty, where that is not to be had."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def watch(worker: int, seconds: float) -> None:
    """What the child does, until its parent has ended."""
    looks = 0
    while os.getppid() == worker:
        looks = looks + 1 if state_of(worker) == "T" else 0
        if looks > LOOKS:
            sys.stderr.write(f"worker {worker} was stopped for {seconds:g} s: it is ended\n")
            os.kill(worker, signal.SIGKILL)
        time.sleep(seconds / LOOKS)


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]))
