"""Prompts as people hold them, arrays of one object or of several, to one `Prompt` an object."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sam_batch.library.results import Masks
from sam_batch.masks import rle
from sam_batch.masks.patch import Patch
from sam_batch.records import Prompt


def to_prompts(points: Any, labels: Any, boxes: Any, masks: Any) -> list[Prompt]:
    """Put the parts of each object together.

    Args:
        points: (x, y) or (n, 2): one object; (P, n, 2) or a sequence of P (n_i, 2): P objects. None without.
        labels: As the points, less their last axis; None is foreground everywhere.
        boxes: (4,) or (P, 4) xyxy. None without.
        masks: (h, w) or (P, h, w) float low-resolution logits, or bool of the image's size, or earlier `Masks`. None
            without. A single one serves all objects.

    Raises:
        ValueError: The parts have other shapes, or are of different numbers of objects.
    """
    parts = {
        "points": None if points is None else _points(points, labels),
        "boxes": None if boxes is None else [{"box": box} for box in _boxes(boxes)],
        "masks": None if masks is None else _masks(masks),
    }
    if points is None and labels is not None:
        raise ValueError("labels are given without points")
    counts = {name: len(part) for name, part in parts.items() if part is not None}
    count = max(counts.values(), default=1)
    if counts.get("masks") == 1 and parts["masks"] is not None:
        parts["masks"] = parts["masks"] * count
        counts["masks"] = count
    if len(set(counts.values())) > 1:
        raise ValueError(f"points, boxes and masks should be of as many objects each; they are of {counts}")
    given = [part for part in parts.values() if part is not None]
    return [Prompt(**_merged([part[place] for part in given])) for place in range(count)]


def _merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def _points(points: Any, labels: Any) -> list[dict[str, Any]]:
    if _depth(points) < 3:  # one object
        points = [np.reshape(points, (-1, 2))]
        labels = None if labels is None else [np.ravel(labels)]
    objects = [np.asarray(of_object, np.float64).reshape(-1, 2) for of_object in points]
    if labels is None:
        labels = [[1] * len(of_object) for of_object in objects]
    if len(labels) != len(objects):
        raise ValueError(f"points are of {len(objects)} objects, labels of {len(labels)}")
    return [
        {"points": tuple(map(tuple, of_object.tolist())), "labels": tuple(np.ravel(of_labels).astype(int).tolist())}
        for of_object, of_labels in zip(objects, labels, strict=True)
    ]


def _depth(points: Any) -> int:
    """Axes, also of a sequence of arrays of different lengths."""
    if isinstance(points, Sequence) and len(points):
        return 1 + _depth(points[0])
    return np.ndim(points)


def _boxes(boxes: Any) -> list[tuple[float, ...]]:
    array = np.asarray(boxes, np.float64)
    if array.shape[-1:] != (4,) or array.ndim > 2:
        raise ValueError(f"boxes should be (4,) or (P, 4) xyxy; they are {array.shape}")
    return [tuple(box) for box in array.reshape(-1, 4).tolist()]


def _masks(masks: Any) -> list[dict[str, Any]]:
    array = masks.logits if isinstance(masks, Masks) else np.asarray(masks)
    if array is None:  # of everything mode, which keeps no logits
        return [{"mask": counts} for counts in masks.counts]
    if array.ndim not in (2, 3):
        raise ValueError(f"masks should be (h, w) or (P, h, w); they are {array.shape}")
    array = array.reshape(-1, *array.shape[-2:])
    if array.dtype == bool:
        return [{"mask": rle.encode_patch(Patch.of(np.ascontiguousarray(mask)), *mask.shape)} for mask in array]
    return [{"logits": mask.astype(np.float32).tobytes()} for mask in array]
