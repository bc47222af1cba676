"""Where the scenes of a step come from: drawn on the GPU as needed, or by a second process into shared memory.

On a GPU every scene is new. On a CPU drawing competes with training, so each scene is cropped several times before
another takes its place. Nothing here augments.
"""

import os
import time
from typing import Protocol

import torch
import torch.multiprocessing as mp
from torch import Tensor

from training.scenes import describe, draw

POOL = 1500  # scenes kept in memory
READY = 192  # scenes drawn before the first step
REUSE = 8  # crops taken of each drawn scene


class Source(Protocol):
    """Gives scenes; `next_seed` is where to go on after an interruption."""

    next_seed: int

    def take(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, S, S) in 0 to 1 and their layers (N, S, S)."""

    def close(self) -> None:
        """Stop what was started."""


class Fresh:
    """Draws each batch when it is asked for."""

    def __init__(self, side: int, next_seed: int, device: str) -> None:
        self.side, self.next_seed, self.device = side, next_seed, device

    @torch.no_grad()
    def take(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The next scenes, each once."""
        seeds = torch.arange(self.next_seed, self.next_seed + count, device=self.device)
        self.next_seed += count
        return draw(describe(seeds), self.side)

    def close(self) -> None:
        """Nothing to stop."""


class Pool:
    """Scenes in shared memory, drawn one after the other by a process of its own, replaced in turn."""

    def __init__(self, side: int, next_seed: int, size: int = POOL) -> None:
        context = mp.get_context("spawn")
        self.images = torch.zeros(size, 3, side, side, dtype=torch.uint8).share_memory_()
        self.tops = torch.zeros(size, side, side, dtype=torch.uint8).share_memory_()
        self.drawn, self.taken = context.Value("q", 0), context.Value("q", 0)
        self.first = next_seed
        self.painter = context.Process(
            target=_paint_pool, args=(self.images, self.tops, self.drawn, self.taken, next_seed), daemon=True
        )
        self.painter.start()

    @property
    def next_seed(self) -> int:
        """The first scene not drawn yet."""
        return self.first + self.drawn.value

    def take(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random scenes of the pool."""
        while self.drawn.value < min(READY, len(self.tops)):
            if not self.painter.is_alive():
                raise RuntimeError("the process that draws the scenes has died")
            time.sleep(0.1)
        index = torch.randint(min(self.drawn.value, len(self.tops)), (count,), generator=generator)
        self.taken.value += count
        return self.images[index].float() / 255, self.tops[index]

    def close(self) -> None:
        """End the painter."""
        self.painter.terminate()
        self.painter.join()


@torch.no_grad()
def _paint_pool(images: Tensor, tops: Tensor, drawn: "mp.Value", taken: "mp.Value", seed: int) -> None:
    """Draw for ever, but no faster than scenes are used up."""
    torch.set_num_threads(1)
    parent, ready = os.getppid(), min(READY, len(tops))
    while os.getppid() == parent:
        if drawn.value >= ready + taken.value / REUSE:
            time.sleep(0.05)
            continue
        image, top = draw(describe(torch.tensor([seed + drawn.value])), images.shape[-1])
        slot = drawn.value % len(images)
        images[slot] = (image[0].clamp(0, 1) * 255).to(torch.uint8)
        tops[slot] = top[0]
        drawn.value += 1


def open_source(side: int, next_seed: int, device: str) -> Source:
    """The source that suits the device."""
    return Pool(side, next_seed) if device == "cpu" else Fresh(side, next_seed, device)
