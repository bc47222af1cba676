"""Annotation parts as segment-anything's `scripts/amg.py` writes them: a folder an image, binary masks and a table.

`0.png` and so on are 255 on the mask and 0 elsewhere; `metadata.csv` has a row a mask. A folder's name is the image's
key and `.masks`, where amg.py has only the name without its extension, which two images may share.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import cv2
import pyarrow as pa

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.numbers import decoded_rows
from sam_batch.masks import rle
from sam_batch.output import layout
from sam_batch.output.plan import Plan

COLUMNS: Final = (
    *("id", "area", "bbox_x0", "bbox_y0", "bbox_w", "bbox_h", "point_input_x", "point_input_y"),
    *("predicted_iou", "stability_score", "crop_box_x0", "crop_box_y0", "crop_box_w", "crop_box_h"),
)
_BITS: Final = (cv2.IMWRITE_PNG_BILEVEL, 1)  # a bit a pixel, which readers give as 0 and 255


@contextmanager
def open_amg(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["AmgExport"]:
    """Start the folders of an output; see `formats.Export`."""
    del config, plan
    yield AmgExport(storage)


class AmgExport:
    """Images with and without masks, but failed ones."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, part: pa.Table) -> None:
        """Write a part's folders, each with its table last."""
        for row in decoded_rows(part):
            self._write(row)

    def finish(self) -> list[str]:
        """There is no file over all images."""
        return []

    def _write(self, row: dict[str, Any]) -> None:
        folder = layout.amg_key(row["key"])
        for mask in row["masks"]:
            pixels_HW = rle.decode(mask["counts"], row["height"], row["width"]).view("uint8") * 255
            _, png = cv2.imencode(".png", pixels_HW, _BITS)
            self._storage.write(f"{folder}/{mask['mask_id']}.png", png.tobytes())
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_row, row["masks"]))
        self._storage.write(f"{folder}/metadata.csv", table.getvalue().encode())


def _row(mask: dict[str, Any]) -> list[Any]:
    point = mask["point_coords"][0] if mask["point_coords"] else ("", "")  # of a box there is none
    scores = (mask["predicted_iou"], mask["stability_score"])
    return [mask["mask_id"], mask["area"], *mask["bbox"], *point, *scores, *mask["crop_box"]]
