"""COCO's spellings of a mask as compressed run lengths: polygons, run lengths plain and compressed."""

from collections.abc import Mapping
from typing import Any

from pycocotools import mask as coco_mask


def to_counts(segmentation: Any, size_hw: tuple[int, int] | None = None) -> str:
    """Compressed run lengths.

    Args:
        segmentation: They themselves, an object with `counts` and `size`, or polygons.
        size_hw: Height and width of the image; polygons do not say it.

    Raises:
        ValueError: It is none of these, or polygons without a size.
    """
    if isinstance(segmentation, str):
        return segmentation
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        if isinstance(counts, (str, bytes)):
            return counts if isinstance(counts, str) else counts.decode("ascii")
        height, width = map(int, segmentation["size"])
        return str(coco_mask.frPyObjects(dict(segmentation), height, width)["counts"].decode("ascii"))
    if size_hw is None:
        raise ValueError("a mask of polygons needs its image's size before it: put images before annotations")
    polygons = [ring for ring in segmentation if len(ring) >= 6]
    if not polygons:
        raise ValueError("its segmentation has no polygon")
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, *size_hw))
    return str(merged["counts"].decode("ascii"))
