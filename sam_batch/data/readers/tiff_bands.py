"""Bands of a TIFF's page by tifffile and imagecodecs: strip by strip, so that bands nobody asked for take no memory."""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from sam_batch.data.readers import tiff_page
from sam_batch.data.readers.tiff_page import Page
from sam_batch.data.scaling import Samples
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

if TYPE_CHECKING:
    from tifffile import TiffPage
    from tifffile.tifffile import DecodeResult

_BYTES_A_PIXEL: Final = 24  # three bands of the widest type: what a strip may take where it holds all pixels
_EXTRA: Final = "is read with the extra tiff: pip install 'sam-batch[tiff]'"

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it finds odd is no news on a terminal


def loader(data: bytes, page: Page, max_pixels: int) -> Callable[[Sequence[int]], Samples]:
    """How a page's bands are decoded: a function from numbers of bands (from 1) to (H, W, C) samples.

    Args:
        data: The whole file.
        page: Which page; grey or RGB.
        max_pixels: Bounds what one strip or tile may unpack to.

    Raises:
        ImageError: Of kind unsupported_format: the extra is not installed; unsupported_compression; truncated; or
            too_many_pixels.
        READ_ERRORS: The file is damaged.
    """
    try:
        import imagecodecs  # noqa: F401 - tifffile's codecs
        import tifffile
    except ImportError:
        raise ImageError(FailureKind.UNSUPPORTED_FORMAT, f"{page}; it {_EXTRA}") from None
    if page.number(tiff_page.COMPRESSION, 1) not in tifffile.TIFF.DECOMPRESSORS:
        raise ImageError(FailureKind.UNSUPPORTED_COMPRESSION, f"{page}")
    if tiff_page.ends_early(data):
        raise ImageError(FailureKind.TRUNCATED, "the file ends before its pixels do")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        stored = file.pages[page.index].aspage()
        if stored.dtype is None:
            raise ImageError(FailureKind.UNSUPPORTED_SAMPLES, f"{page}")
        at_once = int(np.prod(stored.chunks)) * stored.dtype.itemsize
    if at_once > _BYTES_A_PIXEL * max_pixels:
        message = f"{page}: a strip unpacks to {at_once} bytes; at most {_BYTES_A_PIXEL} x {max_pixels} are read"
        raise ImageError(FailureKind.TOO_MANY_PIXELS, message)
    return partial(_load, data, page.index)


def _load(data: bytes, index: int, numbers: Sequence[int]) -> Samples:
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(data)) as file:
        page = file.pages[index].aspage()
        planes, _, height, width, _ = page.shaped
        samples_HWC = np.full((height, width, len(numbers)), page.nodata, page.dtype)
        for segment, (plane, _, y, x, _), (_, rows, columns, _) in _segments(page, data, planes, numbers):
            window_hwC = samples_HWC[y : y + rows, x : x + columns]
            if segment is None:  # a sparse file leaves out what holds no data
                continue
            stored_hwC = segment[0, : window_hwC.shape[0], : window_hwC.shape[1]]
            for place, number in enumerate(numbers):
                if planes == 1 or number == plane + 1:
                    window_hwC[..., place] = stored_hwC[..., 0 if planes > 1 else number - 1]
    return samples_HWC


def _segments(page: "TiffPage", data: bytes, planes: int, numbers: Sequence[int]) -> Iterator["DecodeResult"]:
    """Decode the strips or tiles that hold the wanted bands.

    `TiffPage.segments` is not used: it takes strips for contiguous across those that a sparse file leaves out.
    """
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    count = int(np.prod(page.chunked))
    places = zip(range(count), page.dataoffsets, page.databytecounts, strict=False)
    for number, offset, size in places:
        if planes == 1 or number // (count // planes) + 1 in numbers:
            yield page.decode(data[offset : offset + size] or None, number, **tables)
