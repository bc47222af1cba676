"""A process beside this one for work that may crash, hang or take all memory: native decoders of strangers' files.

It dies of that alone. The kernel enforces the limits, also on native code that keeps the interpreter's lock: a timer
ends the process, and allocations beyond its memory fail. It takes one call at a time and is good for many; a new one
costs its imports. It ends with its parent, however that ends, and leaves signals of a terminal or of a scheduler to it.

This is no wall against an attacker: the process may do what its user may.
"""

import contextlib
import mmap
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

from sam_batch.errors import FailureKind, ImageError, JobError

Reserve = Callable[[Any], None]
"""What work calls once it knows how much memory it wants, with what its caller then turns into bytes."""

_PARENT_DECIDES: Final = (signal.SIGINT, signal.SIGTERM)  # they come to the whole group, or to all of a Slurm step
_LEAVES_IN_SECONDS: Final = 10.0
_LEAST_SHARED: Final = 4 << 20
_MOST_KEPT: Final = 64 << 20  # of memory that both share, between two calls
_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",  # NumPy starts one for each CPU; decoders have no use for them
    # What glibc keeps of freed memory: by default so little that each image takes its pages from the system again, a
    # quarter of all the time that a photograph of a megapixel takes.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
_READY, _ASKS, _ANSWERS = "ready", "asks", "answers"


class Sandbox:
    """One such process. Not for several threads at once.

    Args:
        work: Names, as `module:function`, what it does: a function of anything that can be pickled, and of `reserve`,
            a `Reserve` by keyword.

    Raises:
        OSError: The system has no room for another process.
    """

    def __init__(self, work: str) -> None:
        self._is_ready = False
        connection, other = Pipe()
        with other, contextlib.ExitStack() as at_failure:
            self._channel = _Channel(connection, _shared_file())
            at_failure.callback(self._channel.close)
            self._process = _started(work, other.fileno(), self._channel.memory)
            at_failure.pop_all()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def call(self, *arguments: Any, seconds: float, memory: int, grant: Callable[[Any], int]) -> Any:
        """Let it work.

        Args:
            arguments: Of the work. Large buffers are copied once, into memory that both share.
            seconds: That it may take, without the waiting of `grant`.
            memory: Bytes that it may take on top of what it has, until it calls `reserve`.
            grant: Says how many it may take on top of what it has then, from what it gave `reserve`; may wait.

        Returns:
            What the work returns; its large buffers are read-only.

        Raises:
            ImageError: Of kind worker_crash or timed_out: the process is gone.
            JobError: It could not even start.
            OSError: The system has no room for what they share.
        """
        try:
            self.wait_until_ready()
            self._channel.send((arguments, seconds, memory))
            while True:
                kind, value = self._channel.receive()
                if kind == _ANSWERS:
                    self._channel.give_back()
                    return value
                self._channel.send(grant(value))
        except (EOFError, ConnectionError):
            raise self._death(seconds) from None

    def wait_until_ready(self) -> None:
        """Return when it has started.

        Raises:
            JobError: It ended before that.
        """
        if not self._is_ready:
            try:
                self._channel.receive()
            except (EOFError, ConnectionError):
                how = _in_words(self._exit_code())
                raise JobError(f"the process that decodes images {how} as it started; it may have said why") from None
            self._is_ready = True

    def _death(self, seconds: float) -> ImageError:
        code = self._exit_code()
        if code == -signal.SIGALRM:
            return ImageError(
                FailureKind.TIMED_OUT, f"its decoder did not end within {seconds:g} s (run.image_timeout_seconds)"
            )
        return ImageError(FailureKind.WORKER_CRASH, f"its decoder {_in_words(code)}")

    def _exit_code(self) -> int:
        try:
            return self._process.wait(_LEAVES_IN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """End it."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


def _started(work: str, *descriptors: int) -> subprocess.Popen[bytes]:
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve(*sys.argv[1:])"
    with _blocked(_PARENT_DECIDES):  # as they are in the new process from its first moment on
        return subprocess.Popen(  # noqa: S603 - this interpreter and this module
            [sys.executable, "-c", program, work, *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            env=_ENVIRONMENT | os.environ,
        )


def _in_words(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    with contextlib.suppress(ValueError):  # a real-time signal
        return f"died of signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"died of signal {-exit_code}"


@contextlib.contextmanager
def _blocked(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shared_file() -> int:
    """A file without a name, in memory where the system has such; its descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sam-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _Channel:
    """One end of the way between two processes: messages, whose large buffers go through memory that both map.

    The two speak in turns, so the buffers of one message at a time lie there.
    """

    def __init__(self, connection: Connection, memory: int) -> None:
        self._connection = connection
        self.memory = memory
        self._shared: mmap.mmap | None = None

    def send(self, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        message = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        sizes = [view.nbytes for view in views]
        shared = self._shared_bytes(sum(sizes))
        for view, place in zip(views, _places(sizes), strict=True):
            shared[place] = view
        self._connection.send_bytes(pickle.dumps((message, sizes)))

    def receive(self) -> Any:
        message, sizes = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - this program's own
        shared = self._shared_bytes(sum(sizes))
        return pickle.loads(message, buffers=[shared[place] for place in _places(sizes)])  # noqa: S301 - likewise

    def _shared_bytes(self, size: int) -> mmap.mmap:
        if os.fstat(self.memory).st_size < max(size, _LEAST_SHARED):
            os.ftruncate(self.memory, max(size, _LEAST_SHARED))
        if self._shared is None or len(self._shared) < size:
            self._shared = mmap.mmap(self.memory, max(size, _LEAST_SHARED))
        return self._shared

    def give_back(self) -> None:
        """The shared memory, to the system, where a large message has left much of it."""
        if os.fstat(self.memory).st_size > _MOST_KEPT:
            os.ftruncate(self.memory, 0)

    def close(self) -> None:
        self._connection.close()
        os.close(self.memory)


def _places(sizes: Sequence[int]) -> Iterator[slice]:
    """Where buffers of these sizes lie, one behind the other."""
    return (slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True))


def serve(work: str, connection: str, memory: str) -> None:
    """Be such a process, until its parent closes the connection."""
    channel = _Channel(Connection(int(connection)), int(memory))
    threading.Thread(target=_end_with_parent, args=(int(connection),), daemon=True).start()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    act = resolve_name(work)

    def reserve(wanted: Any) -> None:
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send((_ASKS, wanted))
        _limit_memory(channel.receive())
        signal.setitimer(signal.ITIMER_REAL, left)

    def answer_one() -> None:  # a function, so that nothing of a call outlives it
        arguments, seconds, more_bytes = channel.receive()
        _limit_memory(more_bytes)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        answer = act(*arguments, reserve=reserve)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _limit_memory(None)
        channel.send((_ANSWERS, answer))

    with contextlib.suppress(EOFError, ConnectionError):
        channel.send((_READY, None))
        while True:
            answer_one()


def _end_with_parent(connection: int) -> None:
    parent = select.poll()
    parent.register(connection, 0)  # for no event: that the other end was closed is always told
    parent.poll()
    os._exit(1)


def _limit_memory(more_bytes: int | None) -> None:
    """Let this process take so many bytes on top of what it has; None lifts the limit. Linux alone does that."""
    soft, hard = resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_DATA)[1]
    if more_bytes is not None:
        with contextlib.suppress(OSError):
            pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
            soft = int(pages[5]) * resource.getpagesize() + more_bytes
    if hard != resource.RLIM_INFINITY:
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
