"""Annotation parts to a YOLO data set: a text file an image, a line a mask or box, pictures beside them, data.yaml.

As https://docs.ultralytics.com/datasets/segment describes it, lines hold a class from 0 and normalised coordinates.
Polygons run through the centres of the outermost pixels, each moved by 0.49 of a pixel: so OpenCV's `fillPoly` draws
the same mask, whether the coordinates were rounded or cut off before. Each connected part of a mask is a line of its
own, since parts in one line would be tied together; holes are joined to the outline.

Readers find `labels/x.txt` by the picture `images/x.jpg`, so both are named by the whole key, with its extension:
`a.jpg` and `a.png` become `a.jpg.jpg` and `a.png.png`, and share no labels.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import yaml

from sam_batch.config_output import OutputConfig, YoloConfig
from sam_batch.data.storage import Storage
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.export.pictures import THREADS, Pictures
from sam_batch.masks.polygons import center_polygons
from sam_batch.output import layout
from sam_batch.output.plan import Plan

DATA: Final = "yolo/data.yaml"
_OFFSET: Final = 0.49  # of a pixel
_POINTS: Final = 3  # a line of fewer is read as a box


@contextmanager
def open_yolo(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["YoloExport"]:
    """Start the data set of an output; see `formats.Export`."""
    mode = config.yolo.images
    pictures = None if mode == "none" else Pictures(storage, mode, plan, "output.yolo.images=none does without")
    yield YoloExport(storage, config.yolo, Numbers(plan, config.dataset.category), pictures)


class YoloExport:
    """Images with and without masks, but failed ones; data.yaml comes last.

    Args:
        storage: Where the files go.
        settings: Masks or boxes, and which images are for validation.
        numbers: Whose categories become classes, in their order.
        pictures: That lie beside the labels, if any do.
    """

    def __init__(self, storage: Storage, settings: YoloConfig, numbers: Numbers, pictures: Pictures | None) -> None:
        self._storage, self._settings, self._numbers, self._pictures = storage, settings, numbers, pictures
        self._classes = {category["id"]: place for place, category in enumerate(numbers.categories)}
        self._splits: set[str] = set()

    def add(self, part: pa.Table) -> None:
        """Write a part's labels and pictures.

        Raises:
            StorageError: A file cannot be read or written.
            JobError: A picture is gone, or another than was labelled.
        """
        rows = decoded_rows(part)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._write, rows))
        self._splits.update(split_of(row["key"], self._settings.val) for row in rows)

    def finish(self) -> list[str]:
        """Describe the data set. Where no image is for validation, the ones for training are, and the other way."""
        there = sorted(self._splits) or ["train"]
        folders = {split: f"images/{split if split in there else there[0]}" for split in layout.YOLO_SPLITS}
        names = {place: category["name"] for place, category in enumerate(self._numbers.categories)}
        data = yaml.safe_dump({"path": ".", **folders, "names": names}, sort_keys=False, allow_unicode=True)
        self._storage.replace(DATA, (layout.YOLO_HEAD + data).encode())
        return [DATA]

    def _write(self, row: dict[str, Any]) -> None:
        split = split_of(row["key"], self._settings.val)
        self._storage.write(layout.yolo_label_key(row["key"], split), self._lines(row).encode())
        if self._pictures is not None:
            self._pictures.put(row, layout.yolo_images(split))

    def _lines(self, row: dict[str, Any]) -> str:
        to_lines = _polygons if self._settings.task == "segment" else _box
        return "".join(
            f"{self._classes[self._numbers.category(prompt)]} {numbers}\n"
            for mask, prompt in masks_with_prompts(row)
            for numbers in to_lines(mask, row["height"], row["width"])
        )


def split_of(key: str, val: float) -> str:
    """Whether an image is for training or validation: by its key alone, so that others that come move none."""
    place = int.from_bytes(hashlib.sha256(key.encode(errors="surrogatepass")).digest()[:8], "big") / 2**64
    return "val" if place < val else "train"


def _polygons(mask: dict[str, Any], height: int, width: int) -> list[str]:
    xs, ys = _normalised(width), _normalised(height)
    lines = []
    for ring_n2 in center_polygons(mask["counts"], height, width):
        points = [f"{xs[int(x)]} {ys[int(y)]}" for x, y in ring_n2.tolist()]
        lines.append(" ".join(points + points[:1] * (_POINTS - len(points))))
    return lines


@lru_cache(maxsize=64)
def _normalised(side: int) -> list[str]:
    """The text of every pixel's coordinate."""
    return [f"{(pixel + _OFFSET) / side:.7g}" for pixel in range(side)]


def _box(mask: dict[str, Any], height: int, width: int) -> list[str]:
    x, y, box_w, box_h = mask["bbox"]
    return [f"{(x + box_w / 2) / width:.7g} {(y + box_h / 2) / height:.7g} {box_w / width:.7g} {box_h / height:.7g}"]
