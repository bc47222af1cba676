"""Time and memory of a report over many rows, and the size of its page.

An output is written with as many rows and masks as asked for, 32 images a shard, each with outlines of
`benchmarks/formats.py`; the photographs are one JPEG. The report is made in a process of its own. At the end one JSON
line.

    python benchmarks/report.py --images 100000 --masks 10
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

from benchmarks.formats import HEIGHT, WIDTH, annotation
from benchmarks.harness.environment import environment
from benchmarks.harness.memory import peak_bytes
from sam_batch.config import StorageConfig
from sam_batch.data.storage import Entry, Storage
from sam_batch.output import layout, schema
from sam_batch.output.fingerprint import digest, shaping_defaults
from sam_batch.output.plan import extend, store
from sam_batch.records import ImageRef, ImageResult, Status
from sam_batch.report.make import make_report

SHARD = 32  # images


def write_output(folder: Path, images: int, masks: int) -> None:
    """The plan and the parts of a finished job."""
    photo, storage = folder / "photo.jpg", Storage(str(folder / "out"), StorageConfig())
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    entries = [Entry(f"{image:07d}.jpg", str(photo), 1) for image in range(images)]
    rows = extend(None, entries, shard_size=SHARD)
    plan = store(storage, None, rows, shaping_defaults() | {"input.uri": json.dumps([str(folder)])})
    shard = template(masks, str(photo))
    for number, planned in enumerate(plan.shards(set(range(plan.shard_count)))):
        part = shard.slice(0, planned.num_rows)
        for name in ("image_id", "key"):
            part = part.set_column(part.schema.get_field_index(name), name, planned[name])
        metadata = {"sam_batch.fingerprint": digest(plan.fingerprint)}
        storage.write(
            layout.part_key(layout.ANNOTATIONS, number), schema.part_bytes(part.replace_schema_metadata(metadata))
        )


def template(masks: int, uri: str) -> pa.Table:
    """The rows of a shard, to be given other names."""
    draw, size = np.random.default_rng(1), {"height": HEIGHT, "width": WIDTH, "sha256": "0" * 64}
    results = []
    for image in range(SHARD):
        annotations = tuple(annotation(draw, mask_id) for mask_id in range(masks))
        results.append(ImageResult(ImageRef(image, "", uri), Status.OK, **size, annotations=annotations))
    return schema.results_to_table(results, {})


def measure(folder: str) -> dict[str, Any]:
    """Make the report, in a process that did nothing before."""
    before, started, cpu = peak_bytes(), time.perf_counter(), time.process_time()
    place = make_report(folder, StorageConfig())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    memory = {"peak_bytes_before": before, "peak_bytes": peak_bytes()}
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, **memory, "page_bytes": Path(place).stat().st_size}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="rows of the output")
    parser.add_argument("--masks", type=int, default=10, help="of each image")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_output(Path(folder), arguments.images, arguments.masks)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            row = pool.submit(measure, f"{folder}/out").result()
    print(
        f"{arguments.images} rows: {row['seconds']:.1f} s ({row['cpu_seconds']:.1f} CPU s), at most "
        f"{row['peak_bytes'] >> 20} MiB, a page of {row['page_bytes'] / 1e6:.1f} MB"
    )
    print(json.dumps({"benchmark": "report", **environment(None), **vars(arguments), **row}))


if __name__ == "__main__":
    main()
