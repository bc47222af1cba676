"""Non-maximum suppression: of masks that are nearly the same, the best one stays.

Boxes are compared by torchvision, whose order of ties segment-anything's results depend on; masks by pycocotools.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from torchvision.ops.boxes import batched_nms

from sam_batch.masks.grids import Box
from sam_batch.masks.rle import as_coco


def box_nms(boxes_K4: Sequence[Box], scores_K: Sequence[float], iou_thresh: float) -> list[int]:
    """Suppress boxes that overlap a better one by more than a threshold.

    Always on the CPU, so that ties end alike on every device.

    Args:
        boxes_K4: xyxy.
        scores_K: Compared in float32; of equal ones the first is better.
        iou_thresh: Of boxes.

    Returns:
        Positions of what stays, best first.
    """
    boxes = torch.tensor(boxes_K4, dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor(scores_K, dtype=torch.float32)
    keep: list[int] = batched_nms(boxes, scores, torch.zeros(len(boxes)), iou_thresh).tolist()
    return keep


def mask_nms(counts_K: Sequence[str], scores_K: Sequence[float], size_hw: tuple[int, int], thresh: float) -> list[int]:
    """Suppress masks whose IoU with a better one is above a threshold.

    Args:
        counts_K: COCO's run lengths of masks of one size.
        scores_K: Of equal ones the first is better.
        size_hw: Height and width of the masks.
        thresh: Of the masks' IoU.

    Returns:
        Positions of what stays, in the order given.
    """
    return _suppress(counts_K, scores_K, size_hw, crowd=False, drops=lambda iou: iou > thresh)


def drop_contained(
    counts_K: Sequence[str], scores_K: Sequence[float], size_hw: tuple[int, int], thresh: float
) -> list[int]:
    """Suppress masks of which at least a share lies within a better one.

    Args:
        counts_K: COCO's run lengths of masks of one size, none of them empty.
        scores_K: Of equal ones the first is better.
        size_hw: Height and width of the masks.
        thresh: The share of a mask's own area.

    Returns:
        Positions of what stays, in the order given.
    """
    return _suppress(counts_K, scores_K, size_hw, crowd=True, drops=lambda share: share >= thresh)


def _suppress(
    counts_K: Sequence[str],
    scores_K: Sequence[float],
    size_hw: tuple[int, int],
    *,
    crowd: bool,
    drops: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
) -> list[int]:
    """Take masks best first; keep each that no kept one drops."""
    masks = [as_coco(counts, *size_hw) for counts in counts_K]
    # COCO divides the intersection by the union, or by the row's own area where the column is a crowd.
    overlap_KK = np.asarray(coco.iou(masks, masks, [crowd] * len(masks)))
    kept: list[int] = []
    for one in sorted(range(len(masks)), key=lambda i: -scores_K[i]):
        if not drops(overlap_KK[one, kept]).any():
            kept.append(one)
    return sorted(kept)
