"""Masks a CPU second that exports write, and how their memory grows.

A part of outlines such as a model draws, with holes and several parts, is pushed again and again under other image
ids, as a job with so many masks would push its own; the time to read parts is not in it, and is `reading` by itself.
Each format has a process of its own, so that peaks of memory are theirs. Files go to a temporary folder, which needs
some gigabytes for a million masks. At the end one JSON line.

    python benchmarks/formats.py --formats coco coco:polygons yolo --masks 200000
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from benchmarks.harness.environment import environment
from benchmarks.harness.memory import peak_bytes
from sam_batch.config import StorageConfig
from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.formats import open_exports
from sam_batch.output.plan import Plan, extend
from sam_batch.output.schema import part_bytes, read_part, results_to_table
from sam_batch.records import Annotation, ImageRef, ImageResult, Prompt, Status

HEIGHT, WIDTH = 480, 640
IMAGES, PER_IMAGE = 20, 100  # of the part
WAYS = {
    "coco": ("coco", {}),
    "coco:counts": ("coco", {"segmentation": "counts"}),
    "coco:polygons": ("coco", {"segmentation": "polygons"}),
    "yolo": ("yolo", {"images": "none"}),
    "label-studio": ("label-studio", {}),
    "labelme": ("labelme", {}),
    "sa1b": ("sa1b", {}),
    "amg": ("amg", {}),
}


def annotation(draw: np.random.Generator, mask_id: int) -> Annotation:
    """Smooth noise above a level, inside an ellipse of a size that is drawn evenly in its logarithm."""
    noise_HW = cv2.resize(draw.normal(size=(30, 40)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    radius_x, radius_y = np.exp(draw.uniform(np.log(8), np.log(200), 2))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    inside_HW = ((x - draw.integers(WIDTH)) / radius_x) ** 2 + ((y - draw.integers(HEIGHT)) / radius_y) ** 2 <= 1
    rle = coco_mask.encode(np.asfortranarray((inside_HW & (noise_HW > -1.0)).astype(np.uint8)))
    return Annotation(
        mask_id=mask_id,
        bbox=tuple(coco_mask.toBbox(rle).tolist()),
        area=int(coco_mask.area(rle)),
        predicted_iou=float(np.float32(draw.uniform(0.8, 1))),
        stability_score=float(np.float32(draw.uniform(0.9, 1))),
        prompt=Prompt(points=((float(draw.uniform(0, WIDTH)), float(draw.uniform(0, HEIGHT))),), labels=(1,)),
        crop_box=(0.0, 0.0, float(WIDTH), float(HEIGHT)),
        counts=rle["counts"].decode(),
    )


def part() -> pa.Table:
    """A part of the output."""
    draw = np.random.default_rng(0)
    return results_to_table(
        [
            ImageResult(
                ImageRef(image, f"{image:03d}.jpg", f"{image:03d}.jpg"),
                Status.OK,
                height=HEIGHT,
                width=WIDTH,
                sha256="0" * 64,
                annotations=tuple(annotation(draw, mask) for mask in range(PER_IMAGE)),
            )
            for image in range(IMAGES)
        ],
        {},
    )


def numbered(table: pa.Table, turn: int) -> pa.Table:
    """The same part of other images."""
    ids = pa.array(range(turn * IMAGES, (turn + 1) * IMAGES), pa.int64())
    keys = pa.array([f"{turn:05d}/{image:03d}.jpg" for image in range(IMAGES)])
    for name, column in (("image_id", ids), ("key", keys), ("uri", keys)):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def measure(way: str, masks: int) -> dict[str, Any]:
    """One row of the table."""
    if way == "reading":
        return measure_reading(masks)
    name, settings = WAYS[way]
    table, turns = part(), masks // (IMAGES * PER_IMAGE)
    plan = Plan(extend(None, [], shard_size=1), {}, 1)
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(folder, StorageConfig())
        config = OutputConfig(uri=folder, **{name.replace("-", "_"): settings} if settings else {})
        with open_exports([name], storage, config, plan) as exports:
            exports.add(numbered(table, 0))  # compiles, and fills caches
            before, started = peak_bytes(), time.process_time()
            for turn in range(1, turns + 1):
                exports.add(numbered(table, turn))
            exports.finish()
            seconds = time.process_time() - started
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    written = turns * IMAGES * PER_IMAGE
    return {
        "format": way,
        "masks": written,
        "masks_per_cpu_second": round(written / seconds),
        "bytes_per_mask": round(size / (written + IMAGES * PER_IMAGE)),
        "peak_bytes_before": before,
        "peak_bytes": peak_bytes(),
    }


def measure_reading(masks: int) -> dict[str, Any]:
    """The same of decoding parts alone."""
    data, turns = part_bytes(part()), masks // (IMAGES * PER_IMAGE)
    read_part(data)
    before, started = peak_bytes(), time.process_time()
    for _ in range(turns):
        read_part(data)
    seconds, read = time.process_time() - started, turns * IMAGES * PER_IMAGE
    return {
        "format": "reading",
        "masks": read,
        "masks_per_cpu_second": round(read / seconds),
        "bytes_per_mask": round(len(data) / (IMAGES * PER_IMAGE)),
        "peak_bytes_before": before,
        "peak_bytes": peak_bytes(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=[*WAYS, "reading"], default=[*WAYS, "reading"])
    parser.add_argument("--masks", type=int, default=200_000, help="to write in each format")
    arguments = parser.parse_args(argv)
    rows = []
    for way in arguments.formats:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(measure, way, arguments.masks).result())
        mib = [rows[-1][name] >> 20 for name in ("peak_bytes_before", "peak_bytes")]
        print(f"{way}: {rows[-1]['masks_per_cpu_second']} masks/CPU-s, {rows[-1]['bytes_per_mask']} bytes, MiB {mib}")
    print(json.dumps({"benchmark": "formats", **environment(None), "rows": rows}))


if __name__ == "__main__":
    main()
