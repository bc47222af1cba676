"""Annotation parts in the format of the SA-1B data set: a JSON file an image, with all its masks as run lengths.

As https://github.com/facebookresearch/segment-anything#dataset describes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco_files import as_json
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.masks import rle
from sam_batch.output import layout
from sam_batch.output.plan import Plan

_SAME: Final = ("bbox", "area", "predicted_iou", "stability_score", "point_coords", "crop_box")


@contextmanager
def open_sa1b(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["Sa1bExport"]:
    """Start the files of an output; see `formats.Export`."""
    del config
    yield Sa1bExport(storage, Numbers(plan))


class Sa1bExport:
    """Images with and without masks, but failed ones."""

    def __init__(self, storage: Storage, numbers: Numbers) -> None:
        self._storage, self._numbers = storage, numbers

    def add(self, part: pa.Table) -> None:
        """Write a part's files."""
        for row in decoded_rows(part):
            self._storage.write(layout.sa1b_key(row["key"]), as_json(as_sa1b(row, self._numbers)))

    def finish(self) -> list[str]:
        """There is no file over all images."""
        return []


def as_sa1b(row: dict[str, Any], numbers: Numbers) -> dict[str, Any]:
    """The file of an image."""
    about = {"image_id": numbers.image(row["image_id"]), "file_name": row["key"]}
    masks = [
        {
            "id": numbers.annotation(row["image_id"], mask["mask_id"], prompt),
            "segmentation": rle.as_coco(mask["counts"], row["height"], row["width"]),
            **{name: mask[name] for name in _SAME},
        }
        for mask, prompt in masks_with_prompts(row)
    ]
    return {"image": {**about, "width": row["width"], "height": row["height"]}, "annotations": masks}
