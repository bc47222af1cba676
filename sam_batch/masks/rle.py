"""Binary masks as COCO's compressed run lengths, column by column, and what can be read off them.

pycocotools does the work; here its dictionaries and bytes become plain strings and numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam_batch.masks.grids import Box
from sam_batch.masks.patch import BoolArray, Mask, Patch


@dataclass(frozen=True, slots=True)
class EncodedMask:
    """Run lengths in the place of a `Patch`: decoded only where pixels are looked at.

    Attributes:
        box: As a `Patch` has it.
        counts: COCO's compressed run lengths.
        size_hw: Height and width of the frame.
    """

    box: Box
    counts: str
    size_hw: tuple[int, int]

    @property
    def bits(self) -> bytes:
        """As a `Patch` has them."""
        return Patch.cut(self.unpack(*self.size_hw).T, self.box).bits

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return area(self.counts, *self.size_hw) == 0

    def unpack(self, height: int, width: int) -> BoolArray:
        """The (height, width) mask, column-major in memory."""
        return decode(self.counts, height, width)


def encode(mask: Mask, height: int, width: int) -> str:
    """Run lengths of a mask in a (height, width) frame."""
    return mask.counts if isinstance(mask, EncodedMask) else encode_patch(mask, height, width)


def encode_patch(patch: Mask, height: int, width: int) -> str:
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
