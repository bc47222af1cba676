"""The processes that decode beside this one: how many, what each may take, and what is tried when one dies.

A file that crashes its decoder, or makes it hang, is tried once more by a new one, without others beside it: another
program may have taken the memory. What ends the second one, too, is the image's fault.
"""

import atexit
import logging
import pickle
import platform
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Final

from sam_batch.data.pixels import Size
from sam_batch.data.sandbox import Sandbox
from sam_batch.errors import ImageError, OutageError
from sam_batch.job.deadline import Renew
from sam_batch.job.decode import Answer, Cut, Settings, decode
from sam_batch.job.machine import usable_cpus
from sam_batch.job.room import IO_THREADS, bytes_of, pixel_room
from sam_batch.job.spec import JobSpec
from sam_batch.records import Failure
from sam_batch.segment.algorithm import most_views, views_of

CLOCKS: Final = 2  # of run.image_timeout_seconds until the next try begins: that of this one, and what is around it
OVERHEAD_BYTES: Final = 256 << 20  # what no header says: codecs that are loaded, copies of crops
THREAD_BYTES: Final = 16 << 20  # more for each CPU: codecs have threads, and those have stacks

_log = logging.getLogger(__name__)


class Decoder:
    """Decodes the images of a shard, each in a process of its own. For any number of threads.

    Args:
        job: The job.
        renew: Gives the next image time.
        at_once: Images that are decoded side by side.
    """

    def __init__(self, job: JobSpec, renew: Renew, at_once: int) -> None:
        side, config = job.checkpoint.image_side, job.config
        self._settings = {
            prompted: pickle.dumps(Settings(config, views_of(config, prompted=prompted), side))
            for prompted in (False, True)
        }
        self._seconds = config.run.image_timeout_seconds
        self._most_pixels = config.input.max_pixels
        self._overhead = OVERHEAD_BYTES + THREAD_BYTES * usable_cpus() + 2 * most_views(config) * side * side * 3
        self._renew = renew
        self._at_once = threading.Semaphore(at_once)

    def decode(self, data: bytes, prompted: bool) -> Cut | Failure:
        """An image's views, or why it has none.

        Args:
            data: The whole file.
            prompted: It carries prompts.

        Raises:
            ImageError: Of kind worker_crash or timed_out: it was the end of every process that tried.
            OutageError: The system has no room for such a process, for now.
            JobError: No such process can start here.
        """
        try:
            return self._tried_twice(data, prompted)
        except OSError as error:
            raise OutageError(f"nothing can be decoded on {platform.node()}: {error.strerror}") from error

    def _tried_twice(self, data: bytes, prompted: bool) -> Cut | Failure:
        try:
            return self._tried(data, prompted, alone=False)
        except ImageError as error:
            fault = error
        image = self._tried(data, prompted, alone=True)
        _log.warning("%s, and went well when it was tried again", fault)
        return image

    def _tried(self, data: bytes, prompted: bool, *, alone: bool) -> Cut | Failure:
        with ExitStack() as until_cut:

            def grant(size: Size) -> int:
                wanted = bytes_of(*size)
                until_cut.enter_context(pixel_room().taken(wanted, alone=alone))
                return wanted + self._overhead

            until_cut.enter_context(self._at_once)
            sandbox = until_cut.enter_context(sandboxes().taken())
            self._renew(CLOCKS)
            most = bytes_of(self._most_pixels) + self._overhead
            arguments = pickle.PickleBuffer(data), self._settings[prompted]
            answer: Answer = sandbox.call(*arguments, seconds=self._seconds, memory=most, grant=grant)
        for warning in answer.warnings:
            _log.warning("%s", warning)
        return answer.image


class Sandboxes:
    """Those of this process, for whoever needs one next.

    Args:
        work: Of each.
    """

    def __init__(self, work: str) -> None:
        self._work = work
        self._idle: list[Sandbox] = []
        atexit.register(self.close)

    def start(self) -> None:
        """See to it that one is ready soon: its imports take their time beside other work."""
        if not self._idle:
            with suppress(OSError):  # there is no room for it now: whoever needs one says so
                self._idle.append(Sandbox(self._work))

    def check(self) -> None:
        """Wait until one is ready.

        Raises:
            JobError: It cannot start.
            OSError: The system has no room for it.
        """
        with self.taken() as sandbox:
            sandbox.wait_until_ready()

    @contextmanager
    def taken(self) -> Iterator[Sandbox]:
        """One of them, for one thread; whoever fails with it ends it."""
        try:
            sandbox = self._idle.pop()
        except IndexError:
            sandbox = Sandbox(self._work)
        try:
            yield sandbox
        except BaseException:
            sandbox.close()
            raise
        self._idle.append(sandbox)

    def close(self) -> None:
        """End those that are idle."""
        while self._idle:
            self._idle.pop().close()


def decoders_here() -> int:
    """How many decode side by side where this process has all CPUs for itself."""
    return min(IO_THREADS, usable_cpus())


@cache
def sandboxes() -> Sandboxes:
    """This process's; they stay for its life, since each takes a moment to start."""
    return Sandboxes(f"{decode.__module__}:{decode.__qualname__}")
