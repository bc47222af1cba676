from collections.abc import Iterator
from types import SimpleNamespace

import torch

from benchmarks.harness.stopwatch import PeakMemory, Site, Stopwatch

CPU = torch.device("cpu")


class Clock:
    """Stands still unless it is told otherwise."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_an_inner_stage_does_not_count_for_the_outer_one() -> None:
    clock = Clock()
    watch = Stopwatch(CPU, clock)
    with watch.stage("outer"):
        clock.sleep(1)
        with watch.stage("inner"):
            clock.sleep(10)
        clock.sleep(2)
    clock.sleep(100)
    assert watch.seconds == {"outer": 3, "inner": 10}


def test_functions_are_timed_while_watched_and_themselves_again_afterwards() -> None:
    clock = Clock()
    owner = SimpleNamespace(sleep=clock.sleep)
    watch = Stopwatch(CPU, clock)
    with watch.watching([Site(owner, "sleep", "nap")]):
        owner.sleep(5)
    owner.sleep(7)
    assert watch.seconds == {"nap": 5}
    assert owner.sleep == clock.sleep


def test_a_generator_is_timed_while_it_is_read() -> None:
    clock = Clock()

    def naps() -> Iterator[int]:
        for number in range(3):
            clock.sleep(1)
            yield number

    owner = SimpleNamespace(naps=naps)
    watch = Stopwatch(CPU, clock)
    with watch.watching([Site(owner, "naps", "nap")]):
        assert list(owner.naps()) == [0, 1, 2]
    assert watch.seconds == {"nap": 3}


def test_memory_that_was_given_back_counts_until_the_reset() -> None:
    memory = PeakMemory(CPU)
    memory.reset()
    held = torch.ones(1 << 28, dtype=torch.uint8)
    del held
    assert memory.peak() > 1 << 27
    memory.reset()
    assert memory.peak() < 1 << 27
