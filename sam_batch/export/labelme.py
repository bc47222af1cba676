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
from sam_batch.export.pictures import Pictures, some_at_once
from sam_batch.masks import rle
from sam_batch.output import layout
from sam_batch.output.plan import Plan


@contextmanager
def open_labelme(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["LabelmeExport"]:
    """Start the files of an output; see `formats.Export`."""
    mode = config.labelme.images
    pictures = None if mode == "none" else Pictures(storage, mode, plan, "output.labelme.images=none does without")
    yield LabelmeExport(storage, Numbers(plan, config.dataset.category), pictures)


class LabelmeExport:
    """Images with and without masks, but failed ones.

    Args:
        storage: Where the files go.
        numbers: Of categories.
        pictures: That lie beside the files, if any do; else they are looked for there by their own names.
    """

    def __init__(self, storage: Storage, numbers: Numbers, pictures: Pictures | None) -> None:
        self._storage, self._numbers, self._pictures = storage, numbers, pictures

    def add(self, part: pa.Table) -> None:
        """Write a part's files and pictures.

        Raises:
            StorageError: A file cannot be read or written.
            JobError: A picture is gone, or another than was labelled.
        """
        for _ in some_at_once(self._write, decoded_rows(part)):
            pass

    def finish(self) -> list[str]:
        """There is no file over all images."""
        return []

    def _write(self, row: dict[str, Any]) -> None:
        key, picture = layout.labelme_key(row["key"]), posixpath.basename(row["key"])
        if self._pictures is not None:
            picture = posixpath.relpath(self._pictures.put(row, "labelme"), posixpath.dirname(key))
        self._storage.write(key, json.dumps(self._file(row, picture)).encode())

    def _file(self, row: dict[str, Any], picture: str) -> dict[str, Any]:
        return {
            "version": "5.5.0",
            "flags": {},
            "shapes": [_shape(mask, self._numbers.label(prompt), row) for mask, prompt in masks_with_prompts(row)],
            "imagePath": picture,
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
