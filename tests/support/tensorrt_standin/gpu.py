"""The CPU in the place of a GPU."""

from collections.abc import Callable

import torch


class CpuGpu:
    """A recording is the work itself, so that it too must hold its addresses."""

    STREAM = 4096  # a handle of no stream

    def __init__(self, name: str = "Stand-in", compute_capability: str = "8.9", driver: str = "580.1") -> None:
        self.device, self.name, self.driver = torch.device("cpu"), name, driver
        self.compute_capability, self.memory_bytes = compute_capability, 24 << 30
        self.recorded = 0

    def record(self, work: Callable[[int], None], can_be_recorded: Callable[[int], bool]) -> Callable[[], None]:
        self.recorded += 1
        work(self.STREAM)
        assert can_be_recorded(self.STREAM)
        return lambda: work(self.STREAM)
