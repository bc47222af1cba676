"""Encoded bytes to RGB pixels, by rules that are the same for every file. docs/pixels.md lists what becomes of which.

1. What a file is, its first bytes say (`readers.formats`); its name counts for nothing.
2. The size in the header is checked before anything is decoded.
3. Of several pages, frames or pictures, the first counts (of a TIFF the first that is no preview and no mask).
4. Bands: those of `input.bands`, else those that the file calls grey, or red, green and blue (`bands`).
5. Range: 8-bit samples are taken as they are, others are scaled (`scaling`), by `input.scale` if it is set.
6. Alpha, also a palette's or a colour key, is laid on white, if the format says it is alpha (`bands`).
7. The orientation is applied, once. ICC profiles are not.

What a rule loses is noted. It does no input or output, sets no limit on time or memory (the caller's process does) and
resizes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from sam_batch.config import InputConfig
from sam_batch.data import bands
from sam_batch.data.readers import formats, pillow, tiff
from sam_batch.data.readers.errors import translated
from sam_batch.data.scaling import Kind, to_bytes
from sam_batch.records import PixelNote, UInt8Array

_ROWS = 256


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    Attributes:
        rgb_HW3: (H, W, 3) uint8 RGB, C-contiguous, writable, orientation applied.
        notes: What was lost, in the order of `PixelNote`.
        orientation: EXIF's, 1 to 8, that was applied.
    """

    rgb_HW3: UInt8Array
    notes: tuple[PixelNote, ...]
    orientation: int = 1


class Size(NamedTuple):
    """What a header says of an image: how many pixels it has, and bands of each."""

    pixels: int
    bands: int


def decode(data: bytes, settings: InputConfig, reserve: Callable[[Size], object] = lambda size: None) -> Decoded:
    """Decode an image.

    Args:
        data: The whole file.
        settings: `max_pixels`, `bands`, `scale`, `nodata` and `alpha` count.
        reserve: Called once the header is read, before its pixels take memory; may wait.

    Raises:
        ImageError: Of kind empty_file, not_an_image, unsupported_format, unsupported_compression, unsupported_samples,
            missing_bands, truncated, corrupt, too_many_pixels or out_of_memory. The message is one line and depends
            on the bytes and the settings alone.
    """
    name = formats.format_of(data)
    with translated(name, data):
        is_tiff = name == "TIFF"
        image = tiff.open_image(data, settings) if is_tiff else pillow.open_image(name, data, settings.max_pixels)
        reserve(Size(image.pixels, image.bands.count))
        colour, alpha = bands.choose(image.bands, settings)
        loaded = image.load([*colour, alpha] if alpha else colour)
        kind = image.kind if settings.nodata is None else replace(image.kind, nodata=settings.nodata)
        shown_HWC, notes = to_bytes(loaded.samples_HWC[..., : len(colour)], kind, settings.scale)
        if alpha:
            alpha_HW1, _ = to_bytes(loaded.samples_HWC[..., -1:], Kind(kind.bits), "full")
            if alpha_HW1.min() < 255:
                shown_HWC, notes = _on_white(shown_HWC, alpha_HW1), notes | {PixelNote.ALPHA_FLATTENED}
        if len({*colour, alpha} - {None}) < image.bands.count:
            notes |= {PixelNote.BANDS_DROPPED}
        rgb_HW3 = turned(shown_HWC, loaded.orientation)
    if rgb_HW3.shape[2] == 1:
        rgb_HW3 = np.repeat(rgb_HW3, 3, axis=2)
    notes = notes | loaded.notes
    rgb_HW3 = np.require(rgb_HW3, requirements=["C", "W"])
    return Decoded(rgb_HW3, tuple(note for note in PixelNote if note in notes), loaded.orientation)


def _on_white(shown_HWC: UInt8Array, alpha_HW1: UInt8Array) -> UInt8Array:
    """Lay 8-bit colours on white, (H, W, 3), by Pillow's arithmetic; some rows at once, since it takes many copies."""
    rgb_HW3 = np.empty((*shown_HWC.shape[:2], 3), np.uint8)
    for start in range(0, len(rgb_HW3), _ROWS):
        rows = slice(start, start + _ROWS)
        colours_hW3 = np.broadcast_to(shown_HWC[rows], rgb_HW3[rows].shape)
        image = Image.fromarray(np.concatenate([colours_hW3, alpha_HW1[rows]], axis=2))
        rgb_HW3[rows] = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return rgb_HW3


def turned(pixels_HWC: UInt8Array, orientation: int) -> UInt8Array:
    """Apply an EXIF orientation; values outside the standard change nothing."""
    match orientation:
        case 2:
            return pixels_HWC[:, ::-1]
        case 3:
            return pixels_HWC[::-1, ::-1]
        case 4:
            return pixels_HWC[::-1]
        case 5:
            return pixels_HWC.transpose(1, 0, 2)
        case 6:
            return pixels_HWC[::-1].transpose(1, 0, 2)
        case 7:
            return pixels_HWC[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            return pixels_HWC[:, ::-1].transpose(1, 0, 2)
        case _:
            return pixels_HWC
