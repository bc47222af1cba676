"""The tab Batch: a job chosen, started as a program of its own, followed and stopped. No page.

A job is the same `sam-batch run` that one types: it resumes, refuses what is refused there, and goes on where a stopped
one ended. It ends with the app that started it.
"""

import contextlib
import signal
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sam_batch import configfile
from sam_batch.config import Config
from sam_batch.data.storage import open_storage
from sam_batch.errors import ConfigError, ExitCode, OutputError
from sam_batch.job.status import JobStatus, Watch, dry_run

MOST_LINES: Final = 200  # of what a job says; its last ones
MOST_ENDED: Final = 20  # jobs that are remembered after their end
PATIENCE_SECONDS: Final = 20.0  # that jobs have to end when the app does

_MEANINGS: Final = {
    ExitCode.OK: "finished",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "refused",
    ExitCode.TOO_MANY_FAILURES: "finished, with too many failed images",
    ExitCode.INTERRUPTED: "stopped; start it again to go on",
}


def folder_job(settings: Config, source: str, suffixes: str, destination: str) -> Config:
    """A job over a folder.

    Args:
        settings: Of everything else.
        source: Folder, glob, bucket's prefix or manifest.
        suffixes: Of the images, such as `jpg` or `jpg, png`; empty for all that are usual.
        destination: The output.

    Raises:
        ConfigError: Something is missing, or cannot be that.
    """
    if not destination.strip():
        raise ConfigError("output.uri: is required. Folder or object-store prefix.")
    tree = settings.model_dump()
    tree["input"]["uri"] = source.strip()
    extensions = [suffix.strip() for suffix in suffixes.replace(",", " ").split()]
    if extensions:
        tree["input"]["extensions"] = extensions
    tree["output"]["uri"] = destination.strip()
    return configfile.check(tree)


def yaml_job(path: str) -> Config:
    """A job from its file.

    Raises:
        ConfigError: It cannot be read, or something is wrong with it.
    """
    return configfile.load([Path(path.strip()).expanduser()])


def output_alone(settings: Config, output: str) -> Config:
    """A configuration to look at an output with, whoever made it.

    Args:
        settings: How object stores are reached.
        output: Its URI.

    Raises:
        ConfigError: Nothing is named.
    """
    return configfile.check({**settings.model_dump(), "output": {"uri": output.strip()}})


def foretell(config: Config) -> str:
    """What a run would do, as `sam-batch plan` says it.

    Raises:
        ConfigError: A run would be refused.
    """
    return dry_run(config).to_text(None)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come.

    Attributes:
        status: As `sam-batch status` has it.
        line: The last that the job said; empty for one that was not started here.
        said: All of what it said that is kept.
        ended: How, in words; empty while it runs, and for one that was not started here.
        runs_here: It was started here, and has not ended.
    """

    status: JobStatus
    line: str
    said: str
    ended: str
    runs_here: bool

    @property
    def done(self) -> int:
        """Images with a row."""
        return sum(self.status.counts[name] for name in ("ok", "empty", "failed"))

    @property
    def is_going_on(self) -> bool:
        """Whether somebody works on it, here or elsewhere."""
        return self.runs_here or bool(self.status.holder)

    @property
    def share(self) -> float:
        """Of the images, 0 to 1."""
        return self.done / self.status.planned if self.status.planned else 0.0


class Job:
    """A job that runs as a program.

    Attributes:
        config: Of the job.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._folder = TemporaryDirectory(prefix="sam-batch-")
        path = Path(self._folder.name, "job.yaml")
        path.write_text(configfile.to_yaml(config), encoding="utf-8", errors="surrogateescape")
        self._said: deque[str] = deque(maxlen=MOST_LINES)
        self._asked_to_stop = False
        self._process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "sam_batch", "run", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,  # Ctrl-C on the app's terminal is the app's, which then stops its jobs
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        """Keep the last of what the job says; an unread pipe would hold it up."""
        with self._folder, self._process as process:
            for line in process.stdout or ():
                self._said.append(line.rstrip())

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end with what is nearly done; a second time it is killed, and loses what is not committed."""
        if self.is_running:  # SIGINT would be ignored by the job of an app that was started behind `&`
            self._process.send_signal(signal.SIGKILL if self._asked_to_stop else signal.SIGTERM)
            self._asked_to_stop = True

    def wait(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.is_running

    def said(self) -> list[str]:
        """The last lines of what it said."""
        if not self.is_running:
            self._reader.join(1)
        return list(self._said)

    def ended(self) -> str:
        """How it ended, in words; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        return (
            _MEANINGS[ExitCode(code)] if code in set(ExitCode) else f"ended by signal {-code}; start it again to go on"
        )


class Jobs:
    """The jobs that the app started, by their outputs: whoever names an output follows and may stop its job."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, config: Config) -> None:
        """Start a job.

        Raises:
            OutputError: One that was started here still works on that output.
        """
        root = _root(config)
        with self._lock:
            if root in self._jobs and self._jobs[root].is_running:
                raise OutputError(f"output.uri: a job already works on {root}; it can be stopped here")
            self._jobs.pop(root, None)
            self._jobs[root] = Job(config)
            ended = [other for other, job in self._jobs.items() if not job.is_running]
            for other in ended[:-MOST_ENDED]:
                del self._jobs[other]

    def progress(self, watch: Watch) -> Progress:
        """How far the job on a watched output has come, whoever started it.

        Raises:
            SamBatchError: The output cannot be read.
        """
        job = self._jobs.get(watch.output.storage.root)
        ended = "" if job is None else job.ended()  # asked for first: what is counted then is all there is
        said = [] if job is None else job.said()
        line = next((text for text in reversed(said) if text.strip()), "")
        return Progress(watch.look(), line, "\n".join(said), ended, runs_here=job is not None and not ended)

    def stop(self, config: Config) -> None:
        """Ask the job on an output to end; a second time, kill it.

        Raises:
            OutputError: None that was started here works there.
        """
        job = self._jobs.get(_root(config))
        if job is None or not job.is_running:
            raise OutputError(f"output.uri: no job that was started here works on {_root(config)}")
        job.stop()

    def stop_all(self) -> None:
        """End all of them, in order if they end within `PATIENCE_SECONDS`."""
        running = [job for job in self._jobs.values() if job.is_running]
        for job in running:
            job.stop()
        for job in running:
            if not job.wait(PATIENCE_SECONDS):
                job.stop()


def _root(config: Config) -> str:
    return open_storage(config.output.uri, config.storage).root
