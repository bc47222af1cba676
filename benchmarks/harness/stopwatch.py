"""Where the time of a program goes, and how much memory it takes, both measured from the outside.

Functions are timed by putting a timed one in their place for a while; nothing in the measured program knows of it.
"""

import ctypes
import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import torch

_PROC = Path("/proc/self")
Result = TypeVar("Result")


class Site(NamedTuple):
    """A function to be timed: where it is found, and the stage that its time belongs to."""

    owner: Any
    name: str
    stage: str


class Stopwatch:
    """Seconds by stage. Stages nest: what an inner stage takes does not count for the outer one.

    Args:
        device: On CUDA every change of stage waits for the device, so that work is counted where it was asked for.
        clock: In seconds.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._device, self._clock = device, clock
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a block for a stage."""
        self._lap()
        self._running.append(name)
        try:
            yield
        finally:
            self._lap()
            self._running.pop()

    @contextmanager
    def watching(self, sites: Iterable[Site]) -> Iterator[None]:
        """Count the time of functions, wherever they are called from, until the block ends."""
        with ExitStack() as stack:
            for owner, name, stage in sites:
                stack.enter_context(mock.patch.object(owner, name, self._timed(getattr(owner, name), stage)))
            yield

    def _timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                result = function(*args, **kwargs)
                # A generator works while it is read, which would be in another stage.
                return iter(list(result)) if inspect.isgenerator(result) else result

        return timed

    def _lap(self) -> None:
        synchronise(self._device)
        now = self._clock()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


class Spent(NamedTuple):
    """Seconds: by the clock, and of all CPU cores together."""

    wall: float
    cpu: float


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Spent, Result]:
    """What work took, until the device had done it, and its result."""
    synchronise(device)
    started, started_cpu = time.perf_counter(), time.process_time()
    result = work()
    synchronise(device)
    return Spent(time.perf_counter() - started, time.process_time() - started_cpu), result


class PeakMemory:
    """The most memory in use since the last reset, above what was in use when this object was made.

    On CUDA it is what torch's allocator gave out. On the CPU it is the process's resident memory, whose high-water
    mark Linux resets on request (`/proc/self/clear_refs`).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            self._before = torch.cuda.memory_allocated(device)
        else:
            _return_free_memory()
            self._before = _resident("VmRSS")

    def reset(self) -> None:
        """Forget earlier peaks."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            (_PROC / "clear_refs").write_text("5")

    def peak(self) -> int:
        """Bytes."""
        cuda = self._device.type == "cuda"
        return (torch.cuda.max_memory_allocated(self._device) if cuda else _resident("VmHWM")) - self._before


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _resident(field: str) -> int:
    lines = (_PROC / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) << 10


def _return_free_memory() -> None:
    """Give back what the C library keeps for later, or the next system would seem to need less."""
    ctypes.CDLL(None).malloc_trim(0)
