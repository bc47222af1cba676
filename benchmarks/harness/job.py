"""What a job does with images on a GPU, measured: its segment stage, with all images as one shard.

Threads prepare and conclude beside the GPU, and views of several images are embedded together; `systems.Ours` labels
one image after the other, without either. Loading is not in the time: in a job other processes decode and cut.
"""

import copy
import statistics
import time
from collections.abc import Callable, Sequence

import pyarrow as pa
import torch
from segment_anything.modeling import Sam

from benchmarks.harness.measure import Measured, release
from benchmarks.harness.stopwatch import PeakMemory
from benchmarks.harness.systems import OTHER, LeftOutError, Rles
from sam_batch.config import GeneratorConfig
from sam_batch.engine.choice import EngineChoice
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.job.stages import SegmentStage, Ticket
from sam_batch.masks.rle import as_coco
from sam_batch.model.sam.family import SAM
from sam_batch.output import schema
from sam_batch.records import ImageRef, ImageResult, LoadedImage, UInt8Array
from sam_batch.segment.ahead import helpers
from sam_batch.segment.everything import Everything
from sam_batch.segment.views import crop_views, cut_views


def measure_job(
    sam: Sam,
    generator: GeneratorConfig,
    choice: EngineChoice,
    images: Sequence[Callable[[], UInt8Array]],
    repeat: int,
) -> Measured:
    """Build a segment stage, run it on a shard of all images, and free it; as `measure` does with a system.

    Raises:
        LeftOutError: There is no GPU.
    """
    require_gpu(choice)
    device = torch.device(choice.device)
    memory = PeakMemory(device)
    segment = build(sam, generator, choice)
    shard = load(images, generator, sam.image_encoder.img_size)
    if repeat:
        segment(shard)
    memory.reset()
    table, first = _timed(segment, shard)
    seconds = statistics.median([first, *(_timed(segment, shard)[1] for _ in range(1, repeat))])
    peak_bytes = memory.peak()
    segment.close()
    del segment
    release(device)
    return Measured(len(images) / seconds, {OTHER: 1000 * seconds / len(images)}, peak_bytes, rles(table))


def require_gpu(choice: EngineChoice) -> None:
    """Leave the CPU out: there the stage does what `systems.Ours` does."""
    if choice.device == "cpu":
        raise LeftOutError("on a CPU a job does what `ours` does, an image after the other")


def build(sam: Sam, generator: GeneratorConfig, choice: EngineChoice) -> SegmentStage:
    """A segment stage on an engine with these weights, which need not be those of a file."""
    engine = TorchEngine(copy.deepcopy(sam), SAM, model="benchmark", precision=choice.precision, device=choice.device)
    return SegmentStage(engine, Everything(engine, generator), pool=helpers(engine.spec.on_gpu))


def load(images: Sequence[Callable[[], UInt8Array]], generator: GeneratorConfig, image_side: int) -> pa.Table:
    """All images as the shard that a job's load stage would make of them."""
    loaded = [_loaded(number, image(), generator, image_side) for number, image in enumerate(images)]
    return Ticket(shard=0).attach(schema.loaded_to_table(loaded))


def rles(table: pa.Table) -> list[Rles]:
    """Masks as COCO run lengths, image by image.

    Raises:
        LeftOutError: An image failed.
    """
    return [_rles(result) for result, _ in schema.table_to_segmented(table)]


def _loaded(number: int, pixels_HW3: UInt8Array, generator: GeneratorConfig, image_side: int) -> LoadedImage:
    ref = ImageRef(number, key=str(number), uri=str(number), size=None)
    height, width = pixels_HW3.shape[:2]
    views = cut_views(pixels_HW3, crop_views((height, width), generator), image_side)
    return LoadedImage(ref, height, width, "", b"", views)


def _rles(result: ImageResult) -> Rles:
    if result.failure is not None:
        raise LeftOutError(f"an image failed: {result.failure.message}")
    return [as_coco(one.counts, result.height, result.width) for one in result.annotations]


def _timed(segment: SegmentStage, shard: pa.Table) -> tuple[pa.Table, float]:
    started = time.perf_counter()
    table = segment(shard)  # it is on the CPU: nothing is left to wait for
    return table, time.perf_counter() - started
