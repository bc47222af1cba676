"""Annotation parts to COCO's panoptic format: a PNG an image, in which each pixel belongs to one mask, and a file.

The number of a pixel's mask is red + 256 green + 65536 blue, 0 where there is none. Masks overlap and such a picture
cannot: small masks lie on top, and one that is covered whole is left out. Area and box are of what is seen.
"""

import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco import about
from sam_batch.export.coco_files import CocoFiles, as_json, open_files
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.export.pictures import THREADS
from sam_batch.output import layout
from sam_batch.output.plan import Plan
from sam_batch.output.render import Labels, encoded, labels
from sam_batch.output.schema import table_to_results
from sam_batch.records import ImageResult, Status


@contextmanager
def open_panoptic(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["PanopticExport"]:
    """Start the file of an output; see `formats.Export`."""
    numbers = Numbers(plan, config.dataset.category)
    with open_files(storage, "coco-panoptic/annotations", None) as files:
        things = [{**category, "isthing": 1} for category in numbers.categories]
        files.rest = {"categories": things, **about(config.dataset, plan)}
        yield PanopticExport(storage, files, numbers)


class PanopticExport:
    """Images with and without masks, but failed ones."""

    def __init__(self, storage: Storage, files: CocoFiles, numbers: Numbers) -> None:
        self._storage, self._files, self._numbers = storage, files, numbers

    def add(self, part: pa.Table) -> None:
        """Write a part's pictures; what is in them follows in the file."""
        results = [result for result in table_to_results(part) if result.status != Status.FAILED]
        rows = decoded_rows(part)
        with ThreadPoolExecutor(THREADS) as pool:
            for row, seen in zip(rows, pool.map(self._draw, results), strict=True):
                self._files.add(as_json(self._image(row)), [as_json(self._annotation(row, seen))])

    def finish(self) -> list[str]:
        """Complete the file."""
        return self._files.finish()

    def _draw(self, result: ImageResult) -> dict[int, dict[str, Any]]:
        labels_HW = labels(result.annotations, result.height, result.width)
        blue_green_red = [(labels_HW >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
        self._storage.write(layout.panoptic_key(result.ref.key), encoded(np.stack(blue_green_red, axis=2)))
        boxes = {one.mask_id: tuple(map(int, one.bbox)) for one in result.annotations}
        seen = {mask_id: _seen(labels_HW, mask_id + 1, box) for mask_id, box in boxes.items()}
        return {mask_id: what for mask_id, what in seen.items() if what["area"]}

    def _image(self, row: dict[str, Any]) -> dict[str, Any]:
        number = self._numbers.image(row["image_id"])
        return {"id": number, "file_name": row["key"], "width": row["width"], "height": row["height"]}

    def _annotation(self, row: dict[str, Any], seen: dict[int, dict[str, Any]]) -> dict[str, Any]:
        segments = [
            {
                "id": mask["mask_id"] + 1,
                "category_id": self._numbers.category(prompt),
                "iscrowd": 0,
                **seen[mask["mask_id"]],
                "score": mask["predicted_iou"],
            }
            for mask, prompt in masks_with_prompts(row)
            if mask["mask_id"] in seen
        ]
        name = posixpath.relpath(layout.panoptic_key(row["key"]), layout.PANOPTIC)
        return {"image_id": self._numbers.image(row["image_id"]), "file_name": name, "segments_info": segments}


def _seen(labels_HW: Labels, label: int, box: tuple[int, ...]) -> dict[str, Any]:
    """Area and box of what is seen of a mask."""
    left, top, width, height = box
    seen_hw = labels_HW[top : top + height, left : left + width] == label
    rows, columns = np.flatnonzero(seen_hw.any(axis=1)), np.flatnonzero(seen_hw.any(axis=0))
    if not len(rows):
        return {"area": 0, "bbox": [0, 0, 0, 0]}
    corner = [left + int(columns[0]), top + int(rows[0])]
    size = [int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1]
    return {"area": int(seen_hw.sum()), "bbox": corner + size}
