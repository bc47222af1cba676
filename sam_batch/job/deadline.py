"""Ends a process in which no image ends in time: what hangs in a decoder, a driver or a disk ends by nothing else.

The clock of a worker is `faulthandler`'s. It runs in C, beside the interpreter: it also ends a process whose native
code keeps the GIL, and writes to its log where that was. A process has one such clock, so it is for those that work on
one shard at a time. A plain loop, whose process is the driver's, has a thread instead (`Watchdog`). A process that is
stopped has no clock that runs, and is ended from beside (`job.stopped`).
"""

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator

from sam_batch.job.stopped import end_when_stopped

Renew = Callable[[int], None]
"""Called before each image with the number of views that may have to be worked through until it ends."""


def never(views: int) -> None:
    """A `Renew` of work that may take for ever."""


@contextlib.contextmanager
def worker_deadline(seconds: float) -> Iterator[Renew]:
    """Meanwhile end this process when an image takes longer than so many seconds, times its views.

    From its first such work on it is also ended if it is stopped.
    """
    end_when_stopped()

    def renew(views: int) -> None:
        faulthandler.dump_traceback_later(seconds * max(1, views), exit=True, file=sys.__stderr__ or sys.stderr)

    renew(1)
    try:
        yield renew
    finally:
        faulthandler.cancel_dump_traceback_later()


class Watchdog:
    """Calls a function from a thread of its own when no image ended in time.

    Args:
        seconds: For one view.
        bark: Ends the process.
    """

    def __init__(self, seconds: float, bark: Callable[[], None]) -> None:
        self._seconds, self._bark = seconds, bark
        self._end = 0.0
        self._closed = threading.Event()

    def renew(self, views: int) -> None:
        """See `Renew`."""
        self._end = time.monotonic() + self._seconds * max(1, views)

    def __enter__(self) -> Renew:
        self.renew(1)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self.renew

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(max(0.0, self._end - time.monotonic())):
            if time.monotonic() >= self._end:
                self._bark()
                return
