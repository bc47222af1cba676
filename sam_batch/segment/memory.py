"""Batches that fit the device's memory: a batch for which it does not suffice is done again in halves.

A device that fails otherwise is an engine that is broken: its process can do nothing more with it.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from sam_batch.engine.protocol import EngineSpec
from sam_batch.errors import EngineError

R = TypeVar("R")

# torch's allocator raises OutOfMemoryError; CUDA itself, its libraries and Triton have only words for it, and of a
# convolution for which there is no room torch says that it finds no engine.
SHORTAGE = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "unable to find an engine")

_log = logging.getLogger(__name__)


class BatchSize:
    """How many items are worked on at once; what memory has forbidden twice in a row is not tried again.

    Args:
        what: The items, for messages.
        size: To begin with.
        spec: Of the engine that works on them.
    """

    def __init__(self, what: str, size: int, spec: EngineSpec) -> None:
        self._what, self._size, self._spec = what, size, spec
        self._announced = size

    def over(self, count: int, work: Callable[[slice], R]) -> Iterator[R]:
        """Yield the work of batch after batch until all items are done, each once.

        Args:
            count: Of the items.
            work: Gets the batch's place among them. A batch that runs out of memory is given to it once more when
                nothing is cached, then in halves.

        Raises:
            EngineError: Memory does not suffice for one item, or the device failed.
        """
        start, size = 0, self._size
        while start < count:
            stop = min(start + size, count)
            done = self._attempt(work, slice(start, stop))
            if done:
                self._announce()
                yield from done
                start, size = stop, self._size
                continue
            size = (stop - start) // 2
            if stop - start == min(self._size, count):  # what is left at the end says nothing about whole batches
                self._size = size

    def _attempt(self, work: Callable[[slice], R], some: slice) -> list[R]:
        """What a batch's work gives; nothing, if memory does not suffice for it even when nothing is cached."""
        for last in (False, True):
            try:
                return [work(some)]
            except RuntimeError as error:
                if not self._ran_out(error):
                    raise
                if last and some.stop - some.start == 1:
                    message = f"{self._spec.device} has too little memory for one of the {self._what} alone; a smaller"
                    message += " model, a lower precision or fewer processes on the device would need less"
                    raise EngineError(message) from error
            if self._spec.on_gpu:  # not earlier: the error holds the frames that hold the tensors
                torch.cuda.empty_cache()
        return []

    def _ran_out(self, error: RuntimeError) -> bool:
        """Whether an error means that memory ran out; if not, the item is at fault.

        Raises:
            EngineError: The device failed: whatever comes next fails too, and no item is to blame.
        """
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if not self._spec.on_gpu:
            return False
        if any(words in str(error) for words in SHORTAGE):
            return True
        if isinstance(error, torch.AcceleratorError) or not _answers(self._spec.device):
            raise EngineError(f"{self._spec.device} failed: {error}") from error
        return False

    def _announce(self) -> None:
        """Say once what size it came down to, when it is known to fit."""
        if self._size != self._announced:
            _log.warning("out of memory: from now on %d instead of %d %s", self._size, self._announced, self._what)
            self._announced = self._size


def _answers(device: str) -> bool:
    """Whether a device still works. CUDA's libraries and Triton report that it does not like any other error."""
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
