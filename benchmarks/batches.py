"""A job's segment stage by the size of its batches of prompts: images a second, memory, and how busy the GPU is.

All images are one shard, and each batch size builds the stage anew. A pass warms up, one is timed, one is recorded by
torch's profiler: its kernels' time, overlaps counted once, over the time of the pass without the profiler is the busy
share; what is missing to 1 are gaps between launches. On a CPU operators stand for kernels, which says that the
program works and no more. It measures neither Ray nor storage; at the end one JSON line.

    python benchmarks/batches.py --model vit_b --points-per-batch 64 256 1024
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import arguments as shared
from benchmarks.harness import job
from benchmarks.harness.environment import describe, environment
from benchmarks.harness.measure import load, release
from benchmarks.harness.stopwatch import PeakMemory, timed
from benchmarks.harness.systems import LeftOutError
from benchmarks.harness.weights import load_model
from sam_batch.config import EngineConfig, GeneratorConfig
from sam_batch.engine.choice import EngineChoice
from sam_batch.engine.factory import resolve
from sam_batch.engine.torch_engine import set_up_process
from sam_batch.records import UInt8Array


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = shared.parser(__doc__, precision="auto")
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--points-per-batch", type=int, nargs="+", default=[64, 256])
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    choice = resolve(
        EngineConfig(device=arguments.device, precision=arguments.precision), has_gpus=torch.cuda.is_available()
    )
    images = [partial(load, path, arguments.long_side) for path in arguments.images]
    sam, weights, generator = load_model(arguments.model, arguments.checkpoint, images[0](), arguments.points_per_side)
    print(
        f"{arguments.model} with {weights}, {choice.precision}, on {describe(choice.device)}; torch {torch.__version__}"
    )
    set_up_process(choice.device)
    batches: dict[int, dict[str, Any]] = {}
    for size in arguments.points_per_batch:
        try:
            batches[size] = measure(sam, generator.model_copy(update={"points_per_batch": size}), choice, images)
        except LeftOutError as error:
            batches[size] = {"left_out": str(error)}
        print(f"{size} prompts a batch: {batches[size]}", flush=True)
    if all("left_out" in row for row in batches.values()):
        sys.exit("no size could be measured")
    header = {"benchmark": "batches", "model": arguments.model, "weights": weights, "device": describe(choice.device)}
    settings = {"precision": choice.precision, "points_per_side": arguments.points_per_side, "images": len(images)}
    print(json.dumps(header | environment(choice.device) | settings | {"batches": batches}))


def measure(
    sam: Sam, generator: GeneratorConfig, choice: EngineChoice, images: Sequence[Callable[[], UInt8Array]]
) -> dict[str, Any]:
    """Build a segment stage, run it on a shard of all images three times, and free it.

    Raises:
        LeftOutError: An image failed, for want of memory perhaps.
    """
    device = torch.device(choice.device)
    memory = PeakMemory(device)
    segment = job.build(sam, generator, choice)
    shard = job.load(images, generator, sam.image_encoder.img_size)
    segment(shard)
    memory.reset()
    spent, table = timed(partial(segment, shard), device)
    peak_bytes = memory.peak()
    with profile(activities=[ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]) as profiler:
        timed(partial(segment, shard), device)
    segment.close()
    del segment
    release(device)
    kernels = list(spans(profiler.events() or [], device))
    return {
        "images_per_second": round(len(images) / spent.wall, 3),
        "peak_mib": peak_bytes >> 20,
        "masks": sum(map(len, job.rles(table))),
        "kernels_an_image": len(kernels) // len(images),
        "busy_share": round(covered(kernels) / 1e6 / spent.wall, 4),
    }


def spans(events: Iterable[Any], device: torch.device) -> Iterable[tuple[float, float]]:
    """Start and end of every kernel in microseconds; copies, which other engines of a GPU make, are none."""
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    for event in events:
        if event.device_type == kind and not event.is_user_annotation and not event.name.startswith("Mem"):
            yield event.time_range.start, event.time_range.end


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what intervals cover together."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


if __name__ == "__main__":
    main()
