"""Average recall as pycocotools' `COCOeval` computes it, image by image, so that memory does not grow with the images.

`COCOeval` matches the masks of each image by itself, best score first. Recall of all images is what was matched in them
over what there is, so it is enough to keep these two numbers for each threshold, size and count of masks.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sam_batch.masks.rle import as_coco

MOST: Final = (10, 100, 1000)
"""Masks an image that count, the best ones by score."""

SIZES: Final[Mapping[str, tuple[float, float]]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""COCO's sizes of objects: least and largest area in pixels."""


class Mask(NamedTuple):
    """One mask, or one true object.

    Attributes:
        counts: COCO's run lengths, compressed.
        area: Pixels; of a true object what its file says.
        score: Of masks; larger is better.
        is_crowd: Of true objects: of no single object, so that it is neither found nor missed.
    """

    counts: str
    area: float
    score: float = 1.0
    is_crowd: bool = False


class Recall:
    """Counts of true objects and of those that were found.

    Args:
        most: Masks an image that count.
        sizes: Of objects, by name.
    """

    def __init__(self, most: Sequence[int] = MOST, sizes: Mapping[str, tuple[float, float]] = SIZES) -> None:
        self._most, self._sizes = list(most), dict(sizes)
        thresholds = len(COCOeval(iouType="segm").params.iouThrs)
        self._found_ATM: NDArray[np.int64] = np.zeros((len(sizes), thresholds, len(most)), np.int64)
        self._there_A: NDArray[np.int64] = np.zeros(len(sizes), np.int64)

    def add(self, masks: Sequence[Mask], truth: Sequence[Mask], size_hw: tuple[int, int]) -> None:
        """Match the masks of an image with its true objects.

        Args:
            masks: Of the image.
            truth: Likewise.
            size_hw: Its height and width.
        """
        if not truth:
            return
        evaluation = COCOeval(_as_coco(truth, size_hw), _as_coco(masks, size_hw), "segm")
        evaluation.params.maxDets = self._most
        evaluation.params.areaRng = list(map(list, self._sizes.values()))
        evaluation.params.areaRngLbl = list(self._sizes)
        with contextlib.redirect_stdout(io.StringIO()):  # it says how long it took
            evaluation.evaluate()
        for size, matched in enumerate(evaluation.evalImgs):
            found_TD = (matched["dtMatches"] != 0) & ~matched["dtIgnore"].astype(bool)
            self._there_A[size] += np.count_nonzero(np.asarray(matched["gtIgnore"]) == 0)
            for place, most in enumerate(self._most):
                self._found_ATM[size, :, place] += found_TD[:, :most].sum(axis=1)

    def average(self) -> dict[str, dict[int, float | None]]:
        """By size and count of masks, the mean over IoU thresholds 0.5, 0.55 to 0.95; None without true objects."""
        return {
            size: {
                most: float(self._found_ATM[row, :, place].mean() / self._there_A[row]) if self._there_A[row] else None
                for place, most in enumerate(self._most)
            }
            for row, size in enumerate(self._sizes)
        }


def _as_coco(masks: Sequence[Mask], size_hw: tuple[int, int]) -> COCO:
    """As a COCO data set of one image and one category: what is recalled is masks, whatever they show."""
    height, width = size_hw
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 1, "height": height, "width": width}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [_annotation(number, mask, size_hw) for number, mask in enumerate(masks, 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _annotation(number: int, mask: Mask, size_hw: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": number,  # from 1: 0 means unmatched
        "image_id": 1,
        "category_id": 1,
        "segmentation": as_coco(mask.counts, *size_hw),
        "area": mask.area,
        "score": mask.score,
        "iscrowd": int(mask.is_crowd),
    }
