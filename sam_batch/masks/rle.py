"""Binary masks as COCO's compressed run lengths, column by column, and what can be read off them.

pycocotools does the work; here its dictionaries and bytes become plain strings and numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam_batch.masks.patch import BoolArray, Patch


def encode_patch(patch: Patch, height: int, width: int) -> str:
    """Run lengths of a mask in a (height, width) frame, without the frame's pixels."""
    from sam_batch.masks.kernels.runs import run_lengths  # who only reads masks need not wait for numba

    counts_N = run_lengths(np.frombuffer(patch.bits, dtype=np.uint8), patch.box, height, width)
    lengths = {"size": [height, width], "counts": counts_N}
    counts: bytes = coco.frPyObjects(lengths, height, width)["counts"]
    return counts.decode("ascii")


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
