"""Run lengths to polygons with holes of their own, as maps have them: valid by the rules of OGC's Simple Features.

Their sides are those of the mask's pixels, and nothing is simplified: between them lie exactly the pixels. Pixels that
touch in a corner alone are polygons of their own, and no ring touches itself. What programs that know no holes take,
`masks.polygons` makes.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_batch.compiled import compiled
from sam_batch.masks import rle
from sam_batch.masks.polygons import EAST, MASK, SEEN, ahead, beside
from sam_batch.records import UInt8Array

Ring = NDArray[np.float64]


def areas(counts: str, height: int, width: int) -> list[list[Ring]]:
    """The polygons of a mask.

    Args:
        counts: COCO's compressed run lengths of the (height, width) mask.
        height: Of the frame, in pixels.
        width: Likewise.

    Returns:
        Of each part that is connected over sides its rings: the outline, then the holes. A ring is (n, 2) float64
        corners of pixels, whole numbers from 0 to width and height, n >= 4, the first one not repeated; the mask lies
        on its right hand, with y downwards.
    """
    whole_HW = np.ascontiguousarray(rle.decode(counts, height, width)).view(np.uint8)
    x0, y0, box_w, box_h = cv2.boundingRect(whole_HW)
    if not box_w:
        return []
    mask_hw = whole_HW[y0 : y0 + box_h, x0 : x0 + box_w]
    _, labels_hw = cv2.connectedComponents(mask_hw, connectivity=4)
    parts: dict[int, list[Ring]] = {}
    for ring_n2 in _simple_rings(mask_hw):
        (x, y), (next_x, next_y) = ring_n2[:2].tolist()
        is_west, is_south, is_north = next_x < x, next_y > y, next_y < y
        rings = parts.setdefault(int(labels_hw[y - (is_west or is_north), x - (is_west or is_south)]), [])
        rings.insert(0 if _turns_right(ring_n2) else len(rings), np.add(ring_n2, (x0, y0), dtype=np.float64))
    return list(parts.values())


def _turns_right(ring_n2: NDArray[np.int64]) -> bool:
    """Whether a ring goes around mask, and not around a hole."""
    following_n2 = np.roll(ring_n2, -1, axis=0)
    return bool((ring_n2[:, 0] * following_n2[:, 1] - following_n2[:, 0] * ring_n2[:, 1]).sum() > 0)


def _simple_rings(mask_hw: UInt8Array) -> Iterator[NDArray[np.int64]]:
    pixels_wh = np.pad(np.ascontiguousarray(mask_hw.T) * np.uint8(MASK), 1)  # compiled for one layout in memory
    north_west, north_east = pixels_wh[:-1, :-1], pixels_wh[1:, :-1]
    south_west, south_east = pixels_wh[:-1, 1:], pixels_wh[1:, 1:]
    is_bent = (north_west ^ north_east ^ south_west ^ south_east) != 0  # one or three pixels of mask
    is_tied = (north_west == south_east) & (north_east == south_west) & (north_west != north_east)
    points_n2, ends = _walks(pixels_wh, int(is_bent.sum()) + 2 * int(is_tied.sum()))
    for ring_n2 in np.split(points_n2 - 1, ends)[:-1]:
        yield from _untied(ring_n2)


def _untied(ring_n2: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """A ring cut where it touches itself."""
    if len(np.unique(ring_n2, axis=0)) == len(ring_n2):
        yield ring_n2
        return
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for x, y in ring_n2.tolist():
        point = (x, y)
        if point in places:
            start = places[point]
            yield np.array(path[start:])
            for left in path[start:]:
                del places[left]
            del path[start:]
        places[point] = len(path)
        path.append(point)
    yield np.array(path)


@compiled
def _walks(pixels_wh: UInt8Array, corners: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The corners of all outlines and holes, so many, one ring after the other; and where each ends."""
    width, height = pixels_wh.shape
    points, ends = np.empty((corners, 2), np.int64), np.empty(corners // 4, np.int64)
    count, rings = 0, 0
    for start_x in range(1, width - 1):
        for start_y in range(1, height - 1):
            if pixels_wh[start_x, start_y] != MASK or pixels_wh[start_x, start_y - 1] & MASK:
                continue  # each ring begins on a pixel's upper side that was not walked
            x, y, heading = start_x, start_y, EAST
            while True:
                if heading == EAST:
                    pixels_wh[x, y] |= SEEN
                x, y = ahead(x, y, heading)
                before, heading = heading, _turn_apart(pixels_wh, x, y, heading)
                if heading != before:
                    points[count] = x, y
                    count += 1
                if x == start_x and y == start_y and heading == EAST:
                    break
            ends[rings] = count
            rings += 1
    return points, ends[:rings]


@compiled
def _turn_apart(pixels_wh: UInt8Array, x: int, y: int, heading: int) -> int:
    """The new heading at corner (x, y), with mask on the right hand; parts that touch in a corner are kept apart."""
    left, right = beside(pixels_wh, x, y, heading)
    if not right & MASK:
        return (heading + 1) % 4
    return (heading + 3) % 4 if left & MASK else heading
