"""A job that a Ray cluster runs, followed from here: its configuration is sent, its log shown, its exit code returned.

The package itself is not sent: the cluster's nodes have it. All that the job needs it finds there, or by the names in
the configuration; relative ones are refused by the job, since they would lie in a copy that Ray throws away.
"""

import asyncio
import contextlib
import importlib.util
import os
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rich.console import Console

from sam_batch import configfile
from sam_batch.config import Config
from sam_batch.errors import ConfigError, ExitCode, JobError

PATIENCE: Final = 30  # times in a row that a cluster may not answer
PAUSE_SECONDS: Final = 2.0
STOP_SECONDS: Final = 60.0  # in which a job that is stopped ends, or is left
_JOB = "job.yaml"
_OVERRIDING = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # Ray prefers them to what it is given


def submit(config: Config, address: str, console: Console, stop: Callable[[], bool]) -> int:
    """Run a job on a cluster and follow it to its end.

    Args:
        config: The job.
        address: Of the cluster's dashboard, such as `http://head-node:8265`.
        console: Gets what the job says.
        stop: Asked after Ctrl-C whether the job is to be stopped, too, or left running.

    Returns:
        The job's exit code; after Ctrl-C 130.

    Raises:
        ConfigError: The cluster cannot be reached or does not take the job; nothing was started.
        JobError: It no longer answers, or does not stop the job, or lost its process.
    """
    client = _connect(address)
    job = _send(client, config, address)
    how = f"--address {shlex.quote(address)} {job}"
    console.print(
        f"job {job}; to follow it from elsewhere: ray job logs --follow {how}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    try:
        return _exit_code(_follow(client, job, console), how)
    except KeyboardInterrupt:
        if stop():
            _stop(client, job)
            console.print("the job was stopped; the same command goes on where it stopped", highlight=False)
        else:
            console.print(
                f"the job goes on; to stop it: ray job stop {how}", markup=False, highlight=False, soft_wrap=True
            )
        return ExitCode.INTERRUPTED


def _connect(address: str) -> Any:
    """A client of the cluster's job server.

    Raises:
        ConfigError: It does not answer, or a package is missing here.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--address {address}: should be the dashboard's, such as http://head-node:8265")
    if importlib.util.find_spec("aiohttp") is None:
        raise ConfigError("sam-batch submit needs the extra cluster: pip install '.[cluster]'")
    from ray.job_submission import JobSubmissionClient

    with _only_given():
        try:
            return JobSubmissionClient(address)
        except Exception as error:  # Ray's, of requests, of a server that is none of Ray's
            raise ConfigError(
                f"--address {address}: no job server of Ray answers there: {_words(error)}; the head node needs "
                "ray[default], and its dashboard must be reachable from here"
            ) from error


def _send(client: Any, config: Config, address: str) -> str:
    """Hand the job in; returns its name.

    Raises:
        ConfigError: The server does not take it.
    """
    with TemporaryDirectory(prefix="sam-batch-") as folder:
        Path(folder, _JOB).write_text(configfile.to_yaml(config), encoding="utf-8")
        try:
            job: str = client.submit_job(
                entrypoint=f"python -m sam_batch run {_JOB}",
                runtime_env={"working_dir": folder},
                metadata={"output": config.output.uri},
            )
        except Exception as error:  # as above
            raise ConfigError(f"--address {address}: the cluster does not take the job: {_words(error)}") from error
    return job


def _follow(client: Any, job: str, console: Console) -> Any:
    """Show a job's log until it has ended; returns what the server then says of it.

    Raises:
        JobError: The server does not answer any more.
    """
    from aiohttp import ClientError

    told = _Told(console)
    failures = 0
    while True:
        try:
            asyncio.run(_tail(client, job, told))
            info = client.get_job_info(job)
            if info.status.is_terminal():
                return info
            failures = 0
        except (RuntimeError, OSError, ClientError) as error:  # the connection may come back
            failures += 1
            if failures == PATIENCE:
                raise JobError(
                    f"the cluster does not answer any more ({_words(error)}); job {job} may go on"
                ) from error
        time.sleep(PAUSE_SECONDS)


async def _tail(client: Any, job: str, told: "_Told") -> None:
    told.begin()
    async for text in client.tail_job_logs(job):
        told.hear(text)


class _Told:
    """Shows a log that is read from its beginning each time the connection was lost, once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = 0
        self._heard = 0

    def begin(self) -> None:
        """The log is read from its beginning."""
        self._heard = 0

    def hear(self, text: str) -> None:
        """Show what is new of a piece."""
        new = text[max(0, self._shown - self._heard) :]
        self._heard += len(text)
        self._shown = max(self._shown, self._heard)
        self._console.print(new, end="", markup=False, highlight=False, soft_wrap=True)


def _exit_code(info: Any, how: str) -> int:
    """Of a job that has ended.

    Raises:
        JobError: It has none: its process was never started, or was lost with its node.
    """
    if info.status == "SUCCEEDED":
        return ExitCode.OK
    if info.status == "STOPPED":
        return ExitCode.INTERRUPTED
    if info.driver_exit_code is None or info.driver_exit_code < 0:  # by a signal
        raise JobError(f"the job failed: {_words(info.message or 'no reason is known')}; see ray job logs {how}")
    return int(info.driver_exit_code)


def _stop(client: Any, job: str) -> None:
    """Stop a job and wait for its end, which takes seconds.

    Raises:
        JobError: It may go on.
    """
    end, reason = time.monotonic() + STOP_SECONDS, "it has not ended yet"
    try:
        client.stop_job(job)
        while time.monotonic() < end:
            if client.get_job_status(job).is_terminal():
                return
            time.sleep(PAUSE_SECONDS)
    except (RuntimeError, OSError) as error:
        reason = _words(error)
    raise JobError(f"job {job} may go on: {reason}")


@contextlib.contextmanager
def _only_given() -> Iterator[None]:
    """Meanwhile the environment names no other cluster than the one that was given."""
    kept = {name: os.environ.pop(name) for name in _OVERRIDING if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _words(error: object) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= 400 else f"{words[:400]}..."
