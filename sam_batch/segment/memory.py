"""Batches that fit the device's memory: a batch for which it does not suffice is done again in halves.

A device that fails otherwise is an engine that is broken: its process can do nothing more with it.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from sam_batch.errors import EngineError

R = TypeVar("R")

_log = logging.getLogger(__name__)


class BatchSize:
    """How many items are worked on at once; what memory has once forbidden is not tried again.

    Args:
        what: The items, for messages.
        size: To begin with.
        device: As torch writes it.
    """

    def __init__(self, what: str, size: int, device: str) -> None:
        self._what, self._size, self._device = what, size, device
        self._announced = size

    def over(self, count: int, work: Callable[[slice], R]) -> Iterator[R]:
        """Yield the work of batch after batch until all items are done, each once.

        Args:
            count: Of the items.
            work: Gets the batch's place among them. A batch that runs out of memory is given to it again, in halves.

        Raises:
            EngineError: Memory does not suffice for one item, or the device failed.
        """
        start = 0
        while start < count:
            stop = min(start + self._size, count)
            try:
                result = work(slice(start, stop))
            except torch.OutOfMemoryError as error:
                self._halve(stop - start, error)
            except torch.AcceleratorError as error:  # whatever comes next fails too: no item is to blame
                raise EngineError(f"{self._device} failed: {error}") from error
            else:
                self._announce()
                yield result
                start = stop
                continue
            if self._device.startswith("cuda"):  # not earlier: the error holds the frames that hold the tensors
                torch.cuda.empty_cache()

    def _halve(self, tried: int, error: torch.OutOfMemoryError) -> None:
        if tried == 1:
            message = (
                f"{self._device} has too little memory for one of the {self._what} alone; a smaller model, a lower"
            )
            raise EngineError(f"{message} precision or fewer processes on the device would need less") from error
        self._size = tried // 2

    def _announce(self) -> None:
        """Say once what size it came down to, when it is known to fit."""
        if self._size != self._announced:
            _log.warning("out of memory: from now on %d instead of %d %s", self._size, self._announced, self._what)
            self._announced = self._size
