"""Drivers of jobs, to be killed."""

import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

from sam_batch import configfile
from sam_batch.config import Config
from support.jobs import run

# To load torch takes a driver longer than a little job, so plain ones are forked from a process that has done so.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["sam_batch.job.run", "sam_batch.engine.factory", "sam_batch.segment.everything"])


def start(config: Config) -> Any:
    """A process that runs the job and ends with its exit code; with Ray it is the program itself."""
    if config.run.executor == "ray":
        return _Program(config)
    driver = _forks.Process(target=_drive, args=(config,))
    driver.start()
    return driver


def _drive(config: Config) -> None:
    sys.exit(run(config).exit_code)


class _Program:
    """`sam-batch run`, with the methods of a `multiprocessing.Process`."""

    def __init__(self, config: Config) -> None:
        path = Path(f"{config.output.uri}.yaml")
        path.write_text(configfile.to_yaml(config))
        self._process = subprocess.Popen([sys.executable, "-m", "sam_batch", "run", str(path)])
        self.kill = self._process.kill

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def is_alive(self) -> bool:
        return self.exitcode is None

    def join(self, timeout: float) -> None:
        self._process.wait(timeout)
