"""Run lengths of a packed mask in its frame, in one pass over its bytes, compiled."""

import numpy as np
from numpy.typing import NDArray

from sam_batch.compiled import compiled
from sam_batch.masks.grids import Box
from sam_batch.records import UInt8Array


@compiled
def run_lengths(bits: UInt8Array, box: Box, height: int, width: int) -> NDArray[np.uint32]:
    """COCO's uncompressed counts: pixels off, on, off, ... column by column.

    Args:
        bits: The pixels in the box, column by column, packed, as in `masks.patch.Patch`.
        box: xyxy in the frame, its last row and column included.
        height: Of the frame, in pixels.
        width: Likewise.
    """
    x0, y0, x1, y1 = box
    box_h = y1 - y0 + 1
    counts = np.empty((box_h + 1) * (x1 - x0 + 1) + 1, np.uint32)  # the most there could be
    n, begun, inside = 0, 0, False
    for x in range(x0, x1 + 1):
        at = (x - x0) * box_h  # of the column's first pixel among the bits
        ahead = x * height + y0 - at  # of the bits' own places are those in the frame
        stop = at + box_h
        while at < stop:
            byte = bits[at >> 3]
            if at & 7 == 0 and stop - at >= 8 and byte == (255 if inside else 0):
                at += 8
                continue
            if (byte >> (7 - (at & 7)) & 1 == 1) != inside:
                counts[n] = at + ahead - begun
                n, begun, inside = n + 1, at + ahead, not inside
            at += 1
        if inside and (box_h < height or x == x1):  # else the run may go on at the top of the next column
            counts[n] = stop + ahead - begun
            n, begun, inside = n + 1, stop + ahead, False
    if n == 0 or begun < height * width:
        counts[n] = height * width - begun
        n += 1
    return counts[:n].copy()
