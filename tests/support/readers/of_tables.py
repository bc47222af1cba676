"""Programs that read the rows themselves."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from sam_batch.library.stored import ImageRecord
from sam_batch.output.layout import ANNOTATIONS, part_key
from sam_batch.output.schema import read_part, table_to_results
from support.readers.reader import Found, Made


def _decoded(row: dict[str, Any]) -> list[np.ndarray]:
    size = [row["height"], row["width"]]
    return [coco_mask.decode({"size": size, "counts": mask["counts"]}).astype(bool) for mask in row["masks"]]


def duckdb(made: Made) -> Iterator[Found]:
    import duckdb

    rows = duckdb.sql(f"SELECT key, height, width, masks FROM '{made.output}/annotations/*.parquet'")
    for row in rows.fetchall():
        yield Found(row[0], _decoded(dict(zip(("key", "height", "width", "masks"), row, strict=True))))


def detections(made: Made) -> Iterator[Found]:
    part = read_part((made.output / part_key(ANNOTATIONS, 0)).read_bytes())
    for record in map(ImageRecord.of, table_to_results(part)):
        mask = record.detections().mask
        yield Found(record.key, [] if mask is None else list(np.asarray(mask)))


def datasets_webdataset(made: Made) -> Iterator[Found]:
    from datasets import load_dataset

    shards = str(made.output / "webdataset/shard-*.tar")
    try:
        data = load_dataset("webdataset", data_files=shards, split="train", cache_dir=str(made.output / "cache"))
    except ValueError:  # of a tar with pictures of several types
        return
    for row in data:
        about = row["json"]["image"]
        masks = [coco_mask.decode(one["segmentation"]).astype(bool) for one in row["json"]["annotations"]]
        yield Found(about["file_name"], masks, np.asarray((row.get("jpg") or row["png"]).convert("RGB")))


def datasets_hf(made: Made) -> Iterator[Found]:
    from datasets import load_dataset

    for row in load_dataset(str(made.output / "hf"), split="train", cache_dir=str(made.output / "cache")):
        yield Found(row["key"], [np.asarray(mask) for mask in row["masks"]], np.asarray(row["image"].convert("RGB")))


def datasets(made: Made) -> Iterator[Found]:
    from datasets import load_dataset

    for row in load_dataset(str(made.output), split="train", cache_dir=str(made.output / "cache")):
        yield Found(row["key"], _decoded(row))
