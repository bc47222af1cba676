"""Annotation parts for LabelMe: a JSON file an image, each mask a shape of type `mask`, a PNG of its box in Base64.

Polygons would be LabelMe's usual shapes, but it draws them in a way that gives few masks back.
"""

import base64
import json
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.masks import rle
from sam_batch.output import layout
from sam_batch.output.plan import Plan


@contextmanager
def open_labelme(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["LabelmeExport"]:
    """Start the files of an output; see `formats.Export`."""
    yield LabelmeExport(storage, Numbers(plan, config.dataset.category))


class LabelmeExport:
    """Images with and without masks, but failed ones. Pictures are looked for beside the files."""

    def __init__(self, storage: Storage, numbers: Numbers) -> None:
        self._storage, self._numbers = storage, numbers

    def add(self, part: pa.Table) -> None:
        """Write a part's files."""
        for row in decoded_rows(part):
            self._storage.write(layout.labelme_key(row["key"]), json.dumps(self._file(row)).encode())

    def finish(self) -> list[str]:
        """There is no file over all images."""
        return []

    def _file(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": "5.5.0",
            "flags": {},
            "shapes": [_shape(mask, self._numbers.label(prompt), row) for mask, prompt in masks_with_prompts(row)],
            "imagePath": posixpath.basename(row["key"]),
            "imageData": None,
            "imageHeight": row["height"],
            "imageWidth": row["width"],
        }


def _shape(mask: dict[str, Any], label: str, row: dict[str, Any]) -> dict[str, Any]:
    x, y, box_w, box_h = map(int, mask["bbox"])
    inside_HW = rle.decode(mask["counts"], row["height"], row["width"])[y : y + box_h, x : x + box_w]
    _, png = cv2.imencode(".png", np.ascontiguousarray(inside_HW).view("uint8") * 255)
    scores = {name: mask[name] for name in ("predicted_iou", "stability_score")}
    return {
        "label": label,
        "points": [[x, y], [x + box_w - 1, y + box_h - 1]],  # both are pixels of the box
        "group_id": mask["mask_id"],
        "description": " ".join(f"{name}={value}" for name, value in scores.items()),
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(png.tobytes()).decode("ascii"),
    }
