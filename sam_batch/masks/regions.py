"""Small holes and islands of a binary mask, removed as segment-anything's `remove_small_regions` does."""

import cv2
import numpy as np

from sam_batch.masks.patch import BoolArray


def fill_holes(mask_HW: BoolArray, min_area: int) -> BoolArray:
    """Fill what is not mask, is connected over sides and corners, and has fewer than `min_area` pixels.

    The background outside of the mask counts as well, where it is that small.

    Returns:
        A new mask, or the one given if it has no such hole.
    """
    labels_HW, areas = _regions(~mask_HW)
    small = areas < min_area
    return mask_HW | np.append(False, small)[labels_HW] if small.any() else mask_HW


def drop_islands(mask_HW: BoolArray, min_area: int) -> BoolArray:
    """Drop what is mask, is connected over sides and corners, and has fewer than `min_area` pixels.

    The largest region stays, however small, if no other does.

    Returns:
        A new mask, or the one given if it has no such island.
    """
    labels_HW, areas = _regions(mask_HW)
    keep = areas >= min_area
    if keep.all():
        return mask_HW
    if not keep.any():
        keep[np.argmax(areas)] = True
    return np.append(False, keep)[labels_HW]


def _regions(mask_HW: BoolArray) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int32]], np.ndarray]:
    """Label each 8-connected region from 1 and measure its pixels; 0 is the rest."""
    _, labels_HW, stats, _ = cv2.connectedComponentsWithStats(mask_HW.view(np.uint8), connectivity=8)
    return labels_HW, stats[1:, cv2.CC_STAT_AREA]
