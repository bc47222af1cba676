"""Work that is started before its turn comes, so that CPU, GPU and stores need not wait for each other."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS_BESIDE_A_GPU = 2  # one prepares what comes, one concludes what was


def helpers(on_gpu: bool) -> ThreadPoolExecutor | None:
    """Threads to work beside an engine; none on a CPU, which the engine keeps busy.

    Args:
        on_gpu: Where the engine computes.
    """
    return ThreadPoolExecutor(THREADS_BESIDE_A_GPU) if on_gpu else None


def ahead(
    work: Callable[[T], R], items: Iterable[T], pool: Executor | None, depth: int = 1
) -> Iterator[Callable[[], R]]:
    """Yield, for each item in order, a function that returns the result of its work or raises what the work raised.

    At most `depth` works are under way when an item's function is handed out, so no more results than that are kept.

    Args:
        work: Done in the pool; without one, in the caller's thread, when its result is asked for.
        items: Drawn in the caller's thread, `depth` items earlier than their functions are handed out.
        pool: Of threads.
        depth: How far ahead.
    """
    if pool is None:
        yield from (partial(work, item) for item in items)
        return
    started: deque[Callable[[], R]] = deque()
    for item in items:
        started.append(pool.submit(work, item).result)
        if len(started) > depth:
            yield started.popleft()
    yield from started
