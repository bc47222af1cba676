"""Binary masks as COCO's compressed run lengths, column by column, and what can be read off them.

pycocotools does the work; here its dictionaries and bytes become plain strings and numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam_batch.masks.grids import Box
from sam_batch.masks.patch import BoolArray, Patch
from sam_batch.records import UInt8Array


def encode_patch(patch: Patch, height: int, width: int) -> str:
    """Run lengths of a mask in a (height, width) frame, without the frame's pixels."""
    starts, ends = _runs(np.frombuffer(patch.bits, dtype=np.uint8), patch.box, height)
    bounds = np.stack([starts, ends], axis=1).ravel()
    size = height * width
    if len(bounds) == 0 or bounds[-1] < size:
        bounds = np.append(bounds, size)
    lengths = {"size": [height, width], "counts": np.diff(bounds, prepend=0)}
    counts: bytes = coco.frPyObjects(lengths, height, width)["counts"]
    return counts.decode("ascii")


def _runs(bits: UInt8Array, box: Box, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs of mask pixels start and end in a frame, counted column by column."""
    x0, y0, x1, y1 = box
    box_h, box_w = y1 - y0 + 1, x1 - x0 + 1
    turns = _turns(bits, box_h * box_w)
    starts, ends = turns[::2], turns[1::2]
    if box_h < height:
        # Runs that go on in the next column of the box do not in the frame.
        tops = np.arange(1, box_w) * box_h
        tops = tops[_bit(bits, tops) & _bit(bits, tops - 1) == 1]
        starts, ends = np.sort(np.append(starts, tops)), np.sort(np.append(ends, tops))
    corner = x0 * height + y0
    gap = height - box_h
    return corner + starts + starts // box_h * gap, corner + ends + (ends - 1) // box_h * gap


def _turns(bits: UInt8Array, count: int) -> NDArray[np.int64]:
    """Positions of bits that differ from the one before, from a 0 to a 0 behind the last."""
    padded = np.append(bits, np.uint8(0)) if count % 8 == 0 else bits
    before = padded >> np.uint8(1)
    before[1:] |= padded[:-1] << np.uint8(7)
    changed = padded ^ before
    bytes_ = np.flatnonzero(changed)
    places = np.flatnonzero(np.unpackbits(changed[bytes_]))
    return bytes_[places // 8] * 8 + places % 8


def _bit(bits: UInt8Array, at: NDArray[np.int64]) -> NDArray[np.uint8]:
    return bits[at // 8] >> (7 - at % 8).astype(np.uint8) & np.uint8(1)


def decode(counts: str, height: int, width: int) -> BoolArray:
    """The (height, width) mask of run lengths."""
    mask_HW: NDArray[np.uint8] = coco.decode(as_coco(counts, height, width))
    return mask_HW.view(bool)


def area(counts: str, height: int, width: int) -> int:
    """Mask pixels."""
    return int(coco.area(as_coco(counts, height, width)))


def bbox(counts: str, height: int, width: int) -> tuple[float, float, float, float]:
    """Box (xywh) as COCO means it: x + w is one past the last mask pixel. Zeros for an empty mask."""
    x, y, box_w, box_h = coco.toBbox(as_coco(counts, height, width)).tolist()
    return x, y, box_w, box_h


def as_coco(counts: str, height: int, width: int) -> dict[str, Any]:
    """The dictionary that pycocotools and COCO files call an RLE."""
    return {"size": [height, width], "counts": counts}
