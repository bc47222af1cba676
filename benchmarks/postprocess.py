"""Low-resolution logits to run lengths: segment-anything's way, torch step by step, and the kernel of the device.

On a GPU if there is one, otherwise on the CPU. The ceiling first: to read the logits and write the masks' bits at the
bandwidth of a copy, measured on the spot. Then the three ways, batch by batch in turn, on drawn logits (smooth blobs of
all sizes, noise on top), with their results compared; last each way's peak of memory for one batch, in a process of its
own; at the end one JSON line. Every stable mask is encoded, as the reference does; a job encodes what NMS leaves, so
there is a line for the masks alone. On a busy machine CPU time says more than the clock, and ratios more than either.

    python benchmarks/postprocess.py --batches 6 --prompts 64
"""

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from operator import truediv
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils import amg

from benchmarks.harness import ceiling
from benchmarks.harness.environment import describe, environment
from benchmarks.harness.stopwatch import PeakMemory, Spent, timed
from sam_batch.masks import logits, rle
from sam_batch.masks.geometry import view_shape
from sam_batch.masks.kernels import choose
from sam_batch.masks.logits import Scale, StableMask

SIDE = 1024
OFFSET, MIN_STABILITY = 1.0, 0.95
Masks = list[tuple[list[int], str]]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=64, help="a batch; three masks each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", default=["800x534", "2250x1500"], help="of images, width x height")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    header = {
        "benchmark": "postprocess",
        "date": datetime.now(UTC).date().isoformat(),
        "device": describe(device),
        **environment(device),
        "masks": arguments.batches * arguments.prompts * 3,
        "bandwidth": round(ceiling.bandwidth(device)),
        "cuda": "measured" if device.type == "cuda" else "not measured",
    }
    print(f"{header['date']}, {header['device']}, {header['bandwidth'] / 1e9:.3g} GB/s")
    print(f"kernel: {header['postprocessing']}")
    if device.type != "cuda":
        print("CUDA: not measured")
    sizes = {}
    for size in arguments.sizes:
        width, height = map(int, size.split("x"))
        scale = Scale(SIDE, view_shape(height, width, SIDE), (height, width))
        sizes[size] = measure_time(scale, arguments, header["bandwidth"])
        sizes[size]["peak_mib"] = measure_memory(scale, arguments)
        print_size(size, header["masks"], sizes[size])
    print(json.dumps(header | {"sizes": sizes}))


def draw(seed: int, prompts: int, device: str) -> torch.Tensor:
    """(prompts, 3, 256, 256) logits of blobs whose edges are as steep as a model's, from soft to sharp."""
    rng = np.random.default_rng(seed)
    low = SIDE // 4
    y, x = np.mgrid[:low, :low].astype(np.float32)
    blobs = []
    for _ in range(prompts * 3):
        (row, column), radius, ratio = rng.uniform(0, low, 2), rng.uniform(10, 90), rng.uniform(0.5, 2)
        inside = radius - np.hypot((y - row) * ratio, x - column)
        blobs.append(15 * np.tanh(inside * np.exp(rng.uniform(0, 3)) / 15) + rng.normal(0, 0.2, inside.shape))
    return torch.from_numpy(np.array(blobs, np.float32)).reshape(prompts, 3, low, low).to(device)


def reference(low_P3hw: torch.Tensor, scale: Scale) -> Masks:
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=SIDE))
    full_KHW = Sam.postprocess_masks(sam, low_P3hw, scale.view_hw, scale.crop_hw).flatten(0, 1)
    full_KHW = full_KHW[amg.calculate_stability_score(full_KHW, 0.0, OFFSET) >= MIN_STABILITY]
    masks_KHW = full_KHW > 0.0
    boxes = amg.batched_mask_to_box(masks_KHW).tolist()
    runs = amg.mask_to_rle_pytorch(masks_KHW)
    return [(box, amg.coco_encode_rle(one)["counts"]) for box, one in zip(boxes, runs, strict=True)]


def step_by_step(low_P3hw: torch.Tensor, scale: Scale) -> Masks:
    return encode(logits.stable_masks(low_P3hw.flatten(0, 1), scale, 0.0, OFFSET, MIN_STABILITY), scale)


def kernel(low_P3hw: torch.Tensor, scale: Scale) -> Masks:
    return encode(kernel_masks(low_P3hw, scale), scale)


def kernel_masks(low_P3hw: torch.Tensor, scale: Scale) -> list[StableMask]:
    settings = {"threshold": 0.0, "offset": OFFSET, "min_stability": MIN_STABILITY}
    return list(choose.stable_masks(low_P3hw.flatten(0, 1), scale, **settings))


def encode(masks: Iterable[StableMask], scale: Scale) -> Masks:
    return [(list(mask.patch.box), rle.encode_patch(mask.patch, *scale.crop_hw)) for mask in masks]


WAYS: dict[str, Callable[[torch.Tensor, Scale], Masks]] = {
    "reference": reference,
    "torch": step_by_step,
    "kernel": kernel,
}


def measure_time(scale: Scale, arguments: argparse.Namespace, bandwidth: float) -> dict[str, Any]:
    times: dict[str, list[Spent]] = {way: [] for way in (*WAYS, "kernel, masks alone")}
    for way in WAYS.values():
        way(draw(0, 1, arguments.device), scale)  # what is compiled once
    stable = different = traffic = 0
    for batch in range(arguments.batches):
        low_P3hw = draw(batch, arguments.prompts, arguments.device)
        results = {}
        for name, way in WAYS.items():
            spent, results[name] = timed(partial(way, low_P3hw, scale), low_P3hw.device)
            times[name].append(spent)
        spent, found = timed(partial(kernel_masks, low_P3hw, scale), low_P3hw.device)
        times["kernel, masks alone"].append(spent)
        stable += len(results["reference"])
        different += count_different(results)
        traffic += low_P3hw.nbytes + sum(len(mask.patch.bits) for mask in found)
    if different > stable // 100:
        sys.exit(f"the ways differ in {different} of {stable} masks")
    masks = arguments.prompts * 3
    return {
        "stable": stable,
        "different": different,
        "ceiling_ms_per_mask": round(traffic / bandwidth / arguments.batches / masks * 1e3, 6),
        "ms_per_mask": {name: median_ms([one.wall for one in spent], masks) for name, spent in times.items()},
        "cpu_ms_per_mask": {name: median_ms([one.cpu for one in spent], masks) for name, spent in times.items()},
        "times_faster_than": {name: ratio(times[name], times["kernel"]) for name in ("reference", "torch")},
    }


def median_ms(seconds: Iterable[float], masks: int) -> float:
    return round(statistics.median(seconds) / masks * 1e3, 6)


def ratio(times: list[Spent], kernel: list[Spent]) -> dict[str, float]:
    """The median over batches, by either clock."""
    by_batch = [map(truediv, other, own) for other, own in zip(times, kernel, strict=True)]
    return {
        name: round(statistics.median(column), 1)
        for name, column in zip(Spent._fields, zip(*by_batch, strict=True), strict=True)
    }


def count_different(results: dict[str, Masks]) -> int:
    """The reference's masks that the kernel or torch has not: a logit that is a tie may fall to either side."""
    other = [{(*box, counts) for box, counts in results[way]} for way in ("torch", "kernel")]
    return sum(any((*box, counts) not in masks for masks in other) for box, counts in results["reference"])


def measure_memory(scale: Scale, arguments: argparse.Namespace) -> dict[str, int]:
    peaks = {}
    for way in WAYS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            peaks[way] = pool.submit(peak_mib, way, scale, arguments).result()
    return peaks


def peak_mib(way: str, scale: Scale, arguments: argparse.Namespace) -> int:
    """What one batch adds to the memory that the device (or the process, on the CPU) holds, at most."""
    torch.set_num_threads(arguments.threads)
    WAYS[way](draw(0, 1, arguments.device), Scale(SIDE, (SIDE, SIDE), (64, 64)))  # what is loaded or compiled once
    low_P3hw = draw(0, arguments.prompts, arguments.device)
    memory = PeakMemory(low_P3hw.device)
    memory.reset()
    WAYS[way](low_P3hw, scale)
    return memory.peak() >> 20


def print_size(size: str, masks: int, row: dict[str, Any]) -> None:
    print(f"{size}, {masks} masks, {row['stable']} of them stable, {row['different']} different from the reference's")
    print(f"  ceiling: {row['ceiling_ms_per_mask']:.3g} ms a mask, to read the logits and write the bits")
    for way, spent in row["ms_per_mask"].items():
        times, peak = row["times_faster_than"].get(way), row["peak_mib"].get(way)
        more = f", {times['wall']} times as long as the kernel ({times['cpu']} in CPU time)" if times else ""
        more += f"; {peak} MiB" if peak is not None else ""
        print(f"  {way}: {spent:.3g} ms a mask, {row['cpu_ms_per_mask'][way]:.3g} ms of CPU{more}")


if __name__ == "__main__":
    main()
