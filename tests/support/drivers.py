"""Drivers of jobs, to be killed."""

import io
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from sam_batch import configfile
from sam_batch.config import Config
from sam_batch.data import storage_local
from sam_batch.job import stages
from sam_batch.job.share import Share
from sam_batch.job.worker import run_worker
from support.jobs import run

PATIENCE = 120  # seconds for what takes a few: who hangs fails, who is slow does not


def hear_ctrl_c() -> None:
    """For a new process: the children of a background shell ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# To load torch takes a driver longer than a little job, so plain ones are forked from a process that has done so.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["sam_batch.job.run", "sam_batch.engine.factory", "sam_batch.segment.everything", "sam_batch.segment.prompted"]
)


def start(config: Config) -> Any:
    """A process that runs the job and ends with its exit code; with Ray it is the program itself."""
    if config.run.executor == "ray":
        return _Program(config)
    driver = _forks.Process(target=_drive, args=(config,))
    driver.start()
    return driver


def start_worker(config: Config, number: int, count: int) -> Any:
    """A process that does its share of the job, and ends with its exit code."""
    worker = _forks.Process(target=_work, args=(config, number, count))
    worker.start()
    return worker


def file_count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def wait_until(condition: Callable[[], bool], driver_ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and not driver_ended():
        assert time.monotonic() < deadline, "the driver does nothing"
        time.sleep(0.03)


def kill_at_random(driver: Any, output: Path, moments: random.Random, most: int = 60) -> bool:
    """Kill the driver after a random number of new files and a random moment; False if it was done before."""
    enough = file_count(output) + moments.randrange(most)
    wait_until(lambda: file_count(output) >= enough, lambda: not driver.is_alive())
    time.sleep(moments.uniform(0, 0.05))
    driver.kill()
    driver.join(PATIENCE)
    assert driver.exitcode in (0, -signal.SIGKILL)
    return driver.exitcode != 0


def _drive(config: Config) -> None:
    _start_one_decoder()
    sys.exit(run(config).exit_code)


def _work(config: Config, number: int, count: int) -> None:
    _start_one_decoder()
    sys.exit(run_worker(config, Console(quiet=True), Share(number, count)).exit_code)


def _start_one_decoder() -> None:
    """Not one a CPU: to start each costs as much as a little job."""
    stages.decoders_here = lambda: 1


class _Program:
    """`sam-batch run`, with the methods of a `multiprocessing.Process`."""

    def __init__(self, config: Config) -> None:
        path = Path(f"{config.output.uri}.yaml")
        path.write_text(configfile.to_yaml(config))
        self._process = subprocess.Popen([sys.executable, "-m", "sam_batch", "run", str(path)])
        self.kill, self.pid = self._process.kill, self._process.pid

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def is_alive(self) -> bool:
        return self.exitcode is None

    def join(self, timeout: float) -> None:
        self._process.wait(timeout)


def start_dying(config: Config, call: int) -> Any:
    """A process that kills itself at one of its calls that change the output, counted from 1."""
    driver = _forks.Process(target=_drive_until, args=(config, call))
    driver.start()
    return driver


def _drive_until(config: Config, last: int) -> None:
    calls = itertools.count(1)

    def tick() -> None:
        if next(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event != "open" or bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
        if event in CHANGING and writes and str(arguments[0]).startswith(config.output.uri):
            tick()

    sys.addaudithook(hear)
    _tick_in_writes(tick)
    _drive(config)


CHANGING = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate"}  # told of before they are made


def _tick_in_writes(tick: Callable[[], None]) -> None:
    """Tick before each sync, and before and in the middle of each write of a storage's file."""
    sync, sync_all = os.fsync, storage_local._sync_file_system

    class Torn(io.BufferedWriter):
        def write(self, data: Any) -> int:
            tick()
            super().write(data[: len(data) // 2])
            self.flush()
            tick()
            return len(data) // 2 + super().write(data[len(data) // 2 :])

    opened = io.open

    def opened_torn(file: Any, mode: str) -> Any:
        return Torn(io.FileIO(file, "w")) if mode == "wb" else opened(file, mode)

    storage_local.open = opened_torn  # type: ignore[attr-defined]
    os.fsync = lambda descriptor: (tick(), sync(descriptor))[1]
    storage_local._sync_file_system = lambda descriptor: (tick(), sync_all(descriptor))[1]
