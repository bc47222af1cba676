"""Memory for pixels: images are decoded and drawn side by side as long as they fit, and a larger one alone.

How much an image takes is known before it is decoded, from the size in its header. What engines take is theirs: their
batches shrink where a device's memory runs out.
"""

import contextlib
import ctypes
import os
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from sam_batch.job.machine import usable_cpus, usable_memory

PIXEL_BYTES: Final = 24  # measured: from 10 (JPEG) to 24 (TIFF of floats), decoded and cut into views, or drawn
BAND_BYTES: Final = 8  # more, for each band beyond three
IO_THREADS: Final = 8  # reads or writes in flight in one worker: object stores answer slowly, not narrowly
LEAST_BYTES: Final = 256 << 20
PATIENCE_SECONDS: Final = 60  # a process that hangs with a large image must not make others hang


def bytes_of(pixels: int, bands: int = 3) -> int:
    """What an image takes at most while it is decoded or drawn."""
    return pixels * (PIXEL_BYTES + BAND_BYTES * max(0, bands - 3))


class Room:
    """Bytes that the threads of a process take for a while.

    Args:
        size: In bytes; who wants more gets it when no other thread has any, and no other process more than its own.
        large: A file that all processes of this machine lock for that.
    """

    def __init__(self, size: int, large: Path) -> None:
        self._size = size
        self._large = large
        self._taken = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, wanted: int, *, alone: bool = False) -> Iterator[None]:
        """Meanwhile so many bytes are this thread's, or all of them; waits until there are as many."""
        wanted = max(wanted, self._size + 1) if alone else wanted
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + wanted <= self._size)
            self._taken += wanted
        try:
            with self._alone() if wanted > self._size else contextlib.nullcontext():
                yield
        finally:
            if wanted * IO_THREADS > self._size:
                _give_back()
            with self._changed:
                self._taken -= wanted
                self._changed.notify_all()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        lock = FileLock(self._large)
        with contextlib.suppress(Timeout, OSError):  # as well as can be: memory may suffice for two
            lock.acquire(timeout=PATIENCE_SECONDS)
        try:
            yield
        finally:
            lock.release()


def _give_back() -> None:
    """Freed memory, to the system: glibc keeps a heap for each thread, and in each what the largest image took."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@cache
def pixel_room() -> Room:
    """This process's: the part of one CPU of half the memory that may be used, since Ray starts as many workers."""
    size = max(LEAST_BYTES, usable_memory() // (2 * usable_cpus()))
    return Room(size, Path(tempfile.gettempdir(), f"sam-batch-{os.getuid()}-large-image.lock"))
