"""One system at a time, over all images: how long, where the time goes, how much memory, which masks."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from segment_anything.modeling import Sam

from benchmarks.harness.stopwatch import PeakMemory, Stopwatch, synchronise
from benchmarks.harness.systems import DECODE, OTHER, Rles, System
from sam_batch.config import GeneratorConfig, InputConfig
from sam_batch.data.pixels import decode
from sam_batch.engine.choice import EngineChoice
from sam_batch.masks.geometry import resize_longest
from sam_batch.records import UInt8Array

AS_IN_A_JOB = InputConfig(uri="images")


@dataclass(frozen=True, slots=True)
class Measured:
    """What one system did.

    Attributes:
        images_per_second: From file to run lengths, one image after the other; of a job from views on, all at once.
        milliseconds: By stage, of one image.
        peak_bytes: With the weights.
        rles: Masks, image by image.
    """

    images_per_second: float
    milliseconds: dict[str, float]
    peak_bytes: int
    rles: list[Rles]


def measure(
    system: type[System],
    sam: Sam,
    generator: GeneratorConfig,
    choice: EngineChoice,
    images: Sequence[Callable[[], UInt8Array]],
    repeat: int,
) -> Measured:
    """Build a system, run it on images, each a function that reads it, and free it.

    The first image warms it up. A pass with stages follows, then passes without; of each image the median time of
    those counts. With none (`repeat` 0, for slow machines) nothing is warmed up, and the pass with stages counts.
    """
    device = torch.device(choice.device)
    memory = PeakMemory(device)
    built = system(sam, generator, choice)
    if repeat:
        built.label(images[0]())
    memory.reset()
    watch = Stopwatch(device)
    rles = []
    with watch.watching(built.sites()):
        for image in images:
            with watch.stage(DECODE):
                pixels_HW3 = image()
            with watch.stage(OTHER):
                found = built.label(pixels_HW3)
            rles.append(built.rles(found))
    passes = [[_seconds(built, image, device) for image in images] for _ in range(repeat)]
    seconds = sum(map(statistics.median, zip(*passes, strict=True))) if passes else sum(watch.seconds.values())
    peak_bytes = memory.peak()
    del built
    release(device)
    milliseconds = {stage: 1000 * value / len(images) for stage, value in watch.seconds.items()}
    return Measured(len(images) / seconds, milliseconds, peak_bytes, rles)


def load(path: Path, long_side: int | None = None) -> UInt8Array:
    """Read and decode an image, in the same way for every system; resized, where a longer side is given."""
    pixels_HW3 = decode(path.read_bytes(), AS_IN_A_JOB).rgb_HW3
    return pixels_HW3 if long_side is None else resize_longest(pixels_HW3, long_side)


def release(device: torch.device) -> None:
    """Free what a system that is gone has left behind."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _seconds(built: System, image: Callable[[], UInt8Array], device: torch.device) -> float:
    """From file to masks."""
    started = time.perf_counter()
    built.label(image())
    synchronise(device)
    return time.perf_counter() - started
