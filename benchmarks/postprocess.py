"""Low-resolution logits to run lengths on the CPU: segment-anything's way, torch step by step, and the fused kernel.

The ceiling first: only to read the logits. Then the three ways, batch by batch in turn, on drawn logits (smooth blobs
of all sizes, noise on top), with their results compared; last each way's peak of memory for one batch, in a process of
its own; at the end one JSON line. Every stable mask is encoded, as the reference does; a job encodes what NMS leaves.

    python benchmarks/postprocess.py --batches 6 --prompts 64
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from operator import truediv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils import amg

from sam_batch.masks import logits, rle
from sam_batch.masks.geometry import view_shape
from sam_batch.masks.logits import Scale

SIDE = 1024
OFFSET, MIN_STABILITY = 1.0, 0.95
Masks = list[tuple[list[int], str]]


def draw(seed: int, prompts: int) -> torch.Tensor:
    """(prompts, 3, 256, 256) logits of blobs whose edges are as steep as a model's, from soft to sharp."""
    rng = np.random.default_rng(seed)
    low = SIDE // 4
    y, x = np.mgrid[:low, :low].astype(np.float32)
    blobs = []
    for _ in range(prompts * 3):
        (row, column), radius, ratio = rng.uniform(0, low, 2), rng.uniform(10, 90), rng.uniform(0.5, 2)
        inside = radius - np.hypot((y - row) * ratio, x - column)
        blobs.append(15 * np.tanh(inside * np.exp(rng.uniform(0, 3)) / 15) + rng.normal(0, 0.2, inside.shape))
    return torch.from_numpy(np.array(blobs, np.float32)).reshape(prompts, 3, low, low)


def reference(low_P3hw: torch.Tensor, scale: Scale) -> Masks:
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=SIDE))
    full_KHW = Sam.postprocess_masks(sam, low_P3hw, scale.view_hw, scale.crop_hw).flatten(0, 1)
    full_KHW = full_KHW[amg.calculate_stability_score(full_KHW, 0.0, OFFSET) >= MIN_STABILITY]
    masks_KHW = full_KHW > 0.0
    boxes = amg.batched_mask_to_box(masks_KHW).tolist()
    runs = amg.mask_to_rle_pytorch(masks_KHW)
    return [(box, amg.coco_encode_rle(one)["counts"]) for box, one in zip(boxes, runs, strict=True)]


def ours(low_P3hw: torch.Tensor, scale: Scale, *, fused: bool) -> Masks:
    logits.rounds_as_fused = lambda threads: fused
    found = logits.stable_masks(
        low_P3hw.flatten(0, 1), scale, threshold=0.0, offset=OFFSET, min_stability=MIN_STABILITY
    )
    return [(list(one.patch.box), rle.encode_patch(one.patch, *scale.crop_hw)) for one in found]


WAYS: dict[str, Callable[[torch.Tensor, Scale], Masks]] = {
    "reference": reference,
    "torch": lambda low, scale: ours(low, scale, fused=False),
    "fused": lambda low, scale: ours(low, scale, fused=True),
}


def seconds(work: Callable[[], Masks]) -> tuple[float, Masks]:
    started = time.perf_counter()
    masks = work()
    return time.perf_counter() - started, masks


def peak_mib(way: str, scale: Scale, arguments: argparse.Namespace) -> int:
    """What one batch adds to the memory that the process holds, at most."""
    torch.set_num_threads(arguments.threads)
    WAYS[way](draw(0, 1), Scale(SIDE, (SIDE, SIDE), (64, 64)))  # what is loaded or compiled once
    low_P3hw = draw(0, arguments.prompts)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory_kib("VmRSS")
    WAYS[way](low_P3hw, scale)
    return (memory_kib("VmHWM") - before) >> 10


def memory_kib(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind))


def measure_memory(scale: Scale, arguments: argparse.Namespace) -> dict[str, int]:
    peaks = {}
    for way in WAYS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            peaks[way] = pool.submit(peak_mib, way, scale, arguments).result()
    return peaks


def measure_time(scale: Scale, arguments: argparse.Namespace) -> dict[str, Any]:
    times: dict[str, list[float]] = {way: [] for way in ("read", *WAYS)}
    for way in WAYS.values():
        way(draw(0, 1), scale)  # what is compiled once
    stable = 0
    for batch in range(arguments.batches):
        low_P3hw = draw(batch, arguments.prompts)
        times["read"].append(seconds(low_P3hw.amax)[0])
        results = []
        for name, way in WAYS.items():
            spent, masks = seconds(partial(way, low_P3hw, scale))
            times[name].append(spent)
            results.append(masks)
        if not results[0] == results[1] == results[2]:
            sys.exit("the ways differ in their masks")
        stable += len(results[0])
    per_mask = {name: statistics.median(spent) / arguments.prompts / 3 * 1e3 for name, spent in times.items()}
    ratios = {name: statistics.median(map(truediv, times[name], times["fused"])) for name in ("reference", "torch")}
    return {
        "stable": stable,
        "ceiling_ms_per_mask": round(per_mask.pop("read"), 3),
        "ms_per_mask": {way: round(spent, 3) for way, spent in per_mask.items()},
        "times_faster_than": {way: round(ratio, 1) for way, ratio in ratios.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=64, help="a batch; three masks each")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    masks = arguments.batches * arguments.prompts * 3
    sizes = {}
    for height, width in ((534, 800), (1500, 2250)):
        scale = Scale(SIDE, view_shape(height, width, SIDE), (height, width))
        one = measure_time(scale, arguments) | {"peak_mib": measure_memory(scale, arguments)}
        sizes[f"{width}x{height}"] = one
        print(f"{width}x{height}, {masks} masks, {one['stable']} of them stable")
        print(f"  ceiling: {one['ceiling_ms_per_mask']} ms a mask, to read the logits")
        for way, spent in one["ms_per_mask"].items():
            ratio = one["times_faster_than"].get(way, 1)
            print(f"  {way}: {spent} ms a mask, {ratio} times as long as fused; {one['peak_mib'][way]} MiB")
    print(json.dumps({"benchmark": "postprocess", "threads": arguments.threads, "masks": masks, "sizes": sizes}))


if __name__ == "__main__":
    main()
