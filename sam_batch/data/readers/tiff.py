"""TIFF and GeoTIFF: which library decodes a page, by what the page says of itself, and never by what is installed.

Pillow decodes the pages whose samples it is known to give as they are stored. It has no mode for most others, and turns
some into noise (big-endian numbers that are compressed, 16-bit colours in separate planes). Those are left to tifffile
and imagecodecs, the extra `tiff`.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from sam_batch.config import InputConfig
from sam_batch.data import bands
from sam_batch.data.readers import pillow, tiff_bands, tiff_page
from sam_batch.data.readers.opened import Loaded, Opened, check_size
from sam_batch.data.readers.tiff_page import Page
from sam_batch.data.scaling import Kind, Samples
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind, PixelNote

_MIN_IS_WHITE, _RGB = 0, 2
_MULTIPLIED, _STRAIGHT = 1, 2  # of the extra bands: alpha that the colours were multiplied by, or not
_GREY_OR_RGB: Final = (0, 1, 2)
_CONVERTED: Final = {3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}  # to RGB, by Pillow alone
_NEVER: Final = {4: "a mask", 9: "ICC Lab", 10: "ITU Lab", 32803: "a sensor's mosaic", 34892: "raw sensor data"}
_PILLOW_UNPACKS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
_NO_SUCH_MODE: Final = re.compile(r"unknown pixel mode|samples per pixel")


def open_image(data: bytes, settings: InputConfig) -> Opened:
    """Read a TIFF's directories.

    Args:
        data: The whole file.
        settings: Says which bands will be asked for; images with more than `max_pixels` are refused.

    Raises:
        ImageError: It is cut, too large, a camera's raw file, lacks bands, or holds what nobody here reads.
        READ_ERRORS: It is damaged.
    """
    page = tiff_page.first_page(data)
    check_size(page.number(tiff_page.WIDTH), page.number(tiff_page.LENGTH), settings.max_pixels)
    opened = _with_pillow(data, page, settings) if _pillow_unpacks(page) else None
    return opened or _with_tifffile(data, page, settings)


def _pillow_unpacks(page: Page) -> bool:
    """Whether Pillow gives a page's samples as they are stored, if it has a mode for them at all."""
    compression = page.number(tiff_page.COMPRESSION, 1)
    if compression not in _PILLOW_UNPACKS:
        return False
    if page.photometric in _CONVERTED:
        return True
    in_planes = page.number(tiff_page.PLANAR, 1) != 1
    if page.bits <= 8 and page.type in ("uint", "int"):
        return not in_planes or (page.photometric == _RGB and set(page.extra) <= {_STRAIGHT})
    if in_planes:
        return False
    if page.bits == 16 and page.type == "uint":
        return page.count == 1 or (page.photometric == _RGB and _MULTIPLIED not in page.extra)
    return page.count == 1 and (compression == 1 or (page.bits > 12 and not page.big_endian))


def _with_pillow(data: bytes, page: Page, settings: InputConfig) -> Opened | None:
    """The page by Pillow; None where it has no mode for it, or not all bands that are asked for."""
    if data.startswith(b"MM\0+"):  # big-endian BigTIFF: Pillow takes it for the smaller kind
        return None
    try:
        opened = pillow.open_image("TIFF", data, settings.max_pixels, page.index)
    except SyntaxError as error:
        if not _NO_SUCH_MODE.search(str(error)):
            raise
        return None
    load = partial(_load, opened, page)
    if page.photometric in _CONVERTED:
        return replace(opened, load=load)
    colour, alpha = bands.choose(page.bands, settings)
    divided = _MULTIPLIED in page.extra and alpha is None  # by an alpha that is none
    if max(*colour, alpha or 0) > opened.bands.count or divided:
        return None
    # Samples of up to 8 bits Pillow has spread over 8, and turned if the lowest is white.
    as_stored = page.bits > 8 or (page.bits == 8 and page.photometric != _MIN_IS_WHITE)
    return Opened(page.bands, _kind(page) if as_stored else Kind(), load, opened.pixels)


def _load(opened: Opened, page: Page, numbers: Sequence[int]) -> Loaded:
    loaded = opened.load(numbers)
    return replace(loaded, samples_HWC=_typed(loaded.samples_HWC, page), notes=loaded.notes | _notes(page))


def _typed(samples_HWC: Samples, page: Page) -> Samples:
    """Samples that Pillow has no type for, as they are meant."""
    if page.type == "int" and page.bits == 8:
        return samples_HWC.view(np.int8)
    if page.type == "uint" and page.bits == 32:
        return samples_HWC.view(np.uint32)
    return samples_HWC


def _with_tifffile(data: bytes, page: Page, settings: InputConfig) -> Opened:
    name = {**_CONVERTED, **_NEVER}.get(page.photometric)
    if page.photometric not in _GREY_OR_RGB:
        raise ImageError(FailureKind.UNSUPPORTED_SAMPLES, f"{page}, as {name or f'photometric {page.photometric}'}")
    if page.type not in ("uint", "int", "float") or page.number(tiff_page.IMAGE_DEPTH, 1) > 1:
        raise ImageError(FailureKind.UNSUPPORTED_SAMPLES, f"{page}")
    load = tiff_bands.loader(data, page, settings.max_pixels)

    def with_notes(numbers: Sequence[int]) -> Loaded:
        return Loaded(load(numbers), page.number(tiff_page.ORIENTATION, 1), _notes(page))

    return Opened(page.bands, _kind(page), with_notes, page.number(tiff_page.WIDTH) * page.number(tiff_page.LENGTH))


def _kind(page: Page) -> Kind:
    bits = page.bits if page.type == "uint" and page.bits not in (8, 16, 32, 64) else None
    return Kind(bits, page.nodata if page.bits >= 8 else None, page.photometric == _MIN_IS_WHITE)


def _notes(page: Page) -> frozenset[PixelNote]:
    lost = {
        PixelNote.PAGES_DROPPED: page.has_more,
        PixelNote.MASK_IGNORED: page.has_mask,
        PixelNote.DEPTH_REDUCED: page.bits > 8,
        PixelNote.PROFILE_IGNORED: pillow.is_another_space(page.text(tiff_page.PROFILE)),
    }
    return frozenset(note for note, applies in lost.items() if applies)
