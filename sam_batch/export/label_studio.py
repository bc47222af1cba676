"""Annotation parts to tasks of Label Studio with predictions: brush masks, in its own run lengths, pixel by pixel.

A file a part, each a list of tasks to import. Label Studio finds a picture by `data.image`, and its labelling
configuration needs `<Image name="image" value="$image"/>` and `<BrushLabels name="tag" toName="image">` with the
categories as labels: https://labelstud.io/guide/predictions describes it.

Its run lengths (of the package `@thi.ng/rle-pack`) are of the flattened RGBA picture, four equal bytes a pixel: 32 bits
with the number of bytes; 5 with the bits of a value; 4 with the bits of each of four sizes, all less one; then runs:
a bit that says that it is one, two that choose a size, its length less one in so many bits, and its value.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sam_batch.config_output import LabelStudioConfig, OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco_files import as_json
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.masks import rle
from sam_batch.output.plan import Plan
from sam_batch.records import UInt8Array

_SIZES: Final = np.array([3, 4, 8, 16])  # bits of a run's length
_VALUE_BITS: Final = 8
_LONGEST: Final = 1 << int(_SIZES[-1])


@contextmanager
def open_label_studio(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["TasksExport"]:
    """Start the tasks of an output; see `formats.Export`."""
    yield TasksExport(storage, config.label_studio, Numbers(plan, config.dataset.category))


class TasksExport:
    """Images with and without masks, but failed ones."""

    def __init__(self, storage: Storage, settings: LabelStudioConfig, numbers: Numbers) -> None:
        self._storage, self._settings, self._numbers = storage, settings, numbers
        self._keys: list[str] = []

    def add(self, part: pa.Table) -> None:
        """Write a part's tasks."""
        tasks = [self._task(row) for row in decoded_rows(part)]
        self._keys.append(f"label-studio/tasks-{len(self._keys):05d}.json")
        self._storage.write(self._keys[-1], as_json(tasks))

    def finish(self) -> list[str]:
        """All files are there already."""
        return self._keys

    def _task(self, row: dict[str, Any]) -> dict[str, Any]:
        prefix = self._settings.image_prefix
        image = row["uri"] if prefix is None else prefix + quote(row["key"])
        result = [self._region(mask, row, self._numbers.label(prompt)) for mask, prompt in masks_with_prompts(row)]
        scores = [mask["predicted_iou"] for mask in row["masks"]]
        prediction: dict[str, Any] = {"model_version": "sam-batch", "result": result}
        if scores:
            prediction["score"] = sum(scores) / len(scores)
        return {"data": {"key": row["key"], "image": image}, "predictions": [prediction]}

    def _region(self, mask: dict[str, Any], row: dict[str, Any], label: str) -> dict[str, Any]:
        mask_HW = rle.decode(mask["counts"], row["height"], row["width"])
        return {
            "id": f"{row['image_id']}-{mask['mask_id']}",
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "original_width": row["width"],
            "original_height": row["height"],
            "image_rotation": 0,
            "score": mask["predicted_iou"],
            "value": {"format": "rle", "rle": brush(mask_HW).tolist(), "brushlabels": [label]},
        }


def brush(mask_HW: NDArray[np.bool_]) -> UInt8Array:
    """A (height, width) mask in Label Studio's run lengths: bytes."""
    pixels = np.ascontiguousarray(mask_HW).ravel()
    bounds = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1, [len(pixels)]])
    lengths, values = np.diff(bounds) * 4, pixels[bounds[:-1]] * 255
    pieces = -(-lengths // _LONGEST)  # a long run goes on in the next
    values = np.repeat(values, pieces)
    whole = np.full(len(values), _LONGEST)
    lasts = np.cumsum(pieces) - 1
    whole[lasts] = lengths - (pieces - 1) * _LONGEST
    which = np.searchsorted(1 << _SIZES, whole)  # the smallest size that holds the length less one
    codes = ((4 | which) << _SIZES[which] | whole - 1) << _VALUE_BITS | values
    widths = 3 + _SIZES[which] + _VALUE_BITS
    head = [(4 * len(pixels), 32), (_VALUE_BITS - 1, 5), *((size - 1, 4) for size in _SIZES.tolist())]
    return _packed(
        np.concatenate([[code for code, _ in head], codes]), np.concatenate([[size for _, size in head], widths])
    )


def _packed(codes: NDArray[np.int64], widths: NDArray[np.int64]) -> UInt8Array:
    """Numbers of so many bits each, one behind the other."""
    ends = np.cumsum(widths)
    below = np.repeat(ends, widths) - 1 - np.arange(ends[-1])  # how many bits of the same number follow
    return np.packbits((np.repeat(codes, widths) >> below & 1).astype(np.uint8))
