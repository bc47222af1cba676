"""How far two lists of masks of one image are the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

SAME = 0.99  # IoU from which on two masks count as the same
CLOSE = 0.95  # IoU that the same mask keeps in half precision
PAIRED = 0.5  # IoU from which on they count as masks of the same thing


@dataclass(frozen=True, slots=True)
class Agreement:
    """Masks of all images together.

    Attributes:
        count_reference: Masks of the reference.
        count_ours: Masks of the other system.
        ious: Of the pairs, those of at least `PAIRED`.
    """

    count_reference: int
    count_ours: int
    ious: tuple[float, ...]

    @property
    def matched_fraction(self) -> float:
        """Masks with a twin, of the larger of the two counts; 1 where there are no masks at all."""
        return self.fraction(SAME)

    def fraction(self, least: float) -> float:
        """Masks in pairs of at least this IoU, of the larger of the two counts; 1 where there are no masks at all."""
        most = max(self.count_reference, self.count_ours)
        return sum(iou >= least for iou in self.ious) / most if most else 1.0

    @property
    def mean_matched_iou(self) -> float:
        """NaN where nothing was paired."""
        return float(np.mean(self.ious)) if self.ious else float("nan")


def compare(reference: Sequence[Sequence[dict[str, Any]]], ours: Sequence[Sequence[dict[str, Any]]]) -> Agreement:
    """Compare two systems' masks, image by image; masks are COCO run lengths."""
    ious = [iou for theirs, own in zip(reference, ours, strict=True) for iou in pair(_iou(theirs, own))]
    return Agreement(sum(map(len, reference)), sum(map(len, ours)), tuple(iou for iou in ious if iou >= PAIRED))


def pair(iou_AB: NDArray[np.float64]) -> list[float]:
    """Pair rows with columns, each at most once, the highest IoU first; the IoUs of the pairs, falling."""
    left_AB = iou_AB.copy()
    found: list[float] = []
    while left_AB.size and (best := left_AB.max()) > 0:
        row, column = np.unravel_index(left_AB.argmax(), left_AB.shape)
        left_AB[row, :] = left_AB[:, column] = 0
        found.append(float(best))
    return found


def _iou(theirs: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """(A, B)."""
    if not theirs or not own:
        return np.zeros((len(theirs), len(own)))
    return np.asarray(coco.iou(list(theirs), list(own), [0] * len(own)), dtype=np.float64)
