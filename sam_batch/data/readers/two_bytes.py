"""16-bit samples of several bands out of Pillow, whose images of several bands have 8 bits.

Of a sample's two bytes Pillow keeps one, and the raw mode says which. So it is asked twice: once for the high bytes,
as it does by itself, and once in the other byte order, for the low ones. What it finds wrong it says as ever.
"""

import re
import sys
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import ImageFile

from sam_batch.data.scaling import Samples

_TWO_BYTES: Final = re.compile(r"(RGB|RGBA|RGBX|LA);16([BLN])")
_OTHER_ORDER: Final = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def holds(image: ImageFile.ImageFile) -> bool:
    """Whether an opened image has several bands of 16 bits that can be read in full."""
    return _TWO_BYTES.fullmatch(raw_mode(image)) is not None


def raw_mode(image: ImageFile.ImageFile) -> str:
    """How Pillow is about to unpack the samples; empty where another library does that for it."""
    arguments = image.tile[0].args if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def load(image: ImageFile.ImageFile, opener: Callable[[], ImageFile.ImageFile]) -> Samples:
    """Load an image for which `holds` is true.

    Args:
        image: Opened, not loaded.
        opener: Opens the same image anew.

    Returns:
        (H, W, C) uint16; of RGBX the first three bands.
    """
    match = _TWO_BYTES.fullmatch(raw_mode(image))
    assert match is not None  # noqa: S101 - the caller's duty
    mode, order = match.groups()
    if mode == "LA":  # has no other order, but four bytes are four bytes
        image._mode = "RGBA"
        _unpack_as(image, "RGBA")
        return np.asarray(image).view(">u2")
    other = opener()
    _unpack_as(other, f"{mode};16{_OTHER_ORDER[order]}")
    image.load()
    return np.asarray(image).astype(np.uint16) << 8 | np.asarray(other)


def _unpack_as(image: ImageFile.ImageFile, raw_mode: str) -> None:
    for position, tile in enumerate(image.tile):
        rest = tile.args[1:] if isinstance(tile.args, tuple) else None
        image.tile[position] = tile._replace(args=raw_mode if rest is None else (raw_mode, *rest))
    image.load()
