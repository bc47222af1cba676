"""One mask kept small: cut to its box, eight pixels a byte. What waits for non-maximum suppression waits like this."""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_batch.masks.grids import Box
from sam_batch.records import UInt8Array

BoolArray = NDArray[np.bool_]


class Mask(Protocol):
    """A binary mask kept small, whose pixels may cost something: `Patch`, and `rle.EncodedMask`."""

    @property
    def box(self) -> Box:
        """See `Patch`."""
        ...

    @property
    def bits(self) -> bytes:
        """See `Patch`."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        ...

    def unpack(self, height: int, width: int) -> BoolArray:
        """The (height, width) mask, column-major in memory."""
        ...


@dataclass(frozen=True, slots=True)
class Patch:
    """A binary mask.

    Attributes:
        box: xyxy of the outermost mask pixels, so that x1 - x0 is the width less one, as in segment-anything's
            `batched_mask_to_box`. An empty mask's is its frame's first pixel.
        bits: The pixels in the box, column by column, packed.
    """

    box: Box
    bits: bytes

    @classmethod
    def of(cls, mask_HW: BoolArray) -> Self:
        """Cut and pack a mask."""
        x0, y0, width, height = cv2.boundingRect(mask_HW.view(np.uint8))
        x1, y1 = x0 + max(width, 1), y0 + max(height, 1)
        return cls.cut(mask_HW.T, (x0, y0, x1 - 1, y1 - 1))

    @classmethod
    def cut(cls, mask_WH: BoolArray | UInt8Array, box: Box) -> Self:
        """Pack what is in the box of a transposed mask."""
        x0, y0, x1, y1 = box
        return cls(box, np.packbits(mask_WH[x0 : x1 + 1, y0 : y1 + 1]).tobytes())

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return not any(self.bits)

    def shift(self, x: int, y: int) -> Self:
        """The same pixels in a frame whose origin lies at (-x, -y)."""
        x0, y0, x1, y1 = self.box
        return replace(self, box=(x0 + x, y0 + y, x1 + x, y1 + y))

    def unpack(self, height: int, width: int) -> BoolArray:
        """The (height, width) mask, column-major in memory."""
        x0, y0, x1, y1 = self.box
        size_hw = (y1 - y0 + 1, x1 - x0 + 1)
        mask_HW = np.zeros((height, width), dtype=bool, order="F")
        packed = np.frombuffer(self.bits, dtype=np.uint8)
        pixels = np.unpackbits(packed, count=size_hw[0] * size_hw[1]).view(bool)
        mask_HW[y0 : y1 + 1, x0 : x1 + 1] = pixels.reshape(size_hw, order="F")
        return mask_HW
