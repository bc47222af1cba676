"""The extra's reader: what it needs, what it refuses, and that damage is never mistaken for pixels."""

import sys

import numpy as np
import pytest
import tifffile
from support.tiffs import geotiff, tiff

from sam_batch.data.readers import tiff_bands
from sam_batch.data.readers.errors import READ_ERRORS
from sam_batch.data.readers.tiff_page import first_page
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

BANDS = np.random.default_rng(0).integers(0, 60_000, (5, 32, 48)).astype(np.uint16)


def load(data, numbers=(1, 2, 3), max_pixels=1 << 20):
    return tiff_bands.loader(data, first_page(data), max_pixels)(numbers)


def failure(data, max_pixels=1 << 20):
    with pytest.raises(ImageError) as caught:
        load(data, max_pixels=max_pixels)
    return caught.value.kind, str(caught.value)


@pytest.mark.parametrize("missing", ["tifffile", "imagecodecs"])
def test_without_the_extra_its_name_is_said(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    words = "5 bands of uint16, compressed by LZW; it is read with the extra tiff: pip install 'sam-batch[tiff]'"
    assert failure(geotiff(BANDS, compress="lzw")) == (FailureKind.UNSUPPORTED_FORMAT, words)


def test_planes_that_nobody_asked_for_are_not_decoded(monkeypatch):
    decoded = []
    decode = tifffile.TIFF.DECOMPRESSORS[8]

    def counted(data, **arguments):
        decoded.append(len(data))
        return decode(data, **arguments)

    monkeypatch.setitem(tifffile.TIFF.DECOMPRESSORS._codecs, 8, counted)
    data = geotiff(BANDS, compress="deflate", interleave="band", blockysize=32)
    np.testing.assert_array_equal(load(data, (4, 2)), np.moveaxis(BANDS[[3, 1]], 0, 2))
    assert len(decoded) == 2


def test_a_strip_that_unpacks_to_more_than_an_image_may_is_refused():
    flat = np.zeros((60, 100, 100), np.uint16)
    data = geotiff(flat, compress="deflate", blockysize=100, interleave="pixel")
    kind, words = failure(data, max_pixels=10_000)
    assert kind == FailureKind.TOO_MANY_PIXELS
    assert "a strip unpacks to 1200000 bytes" in words
    assert load(data, max_pixels=50_000).shape == (100, 100, 3)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "zstd"])
def test_a_cut_file_is_truncated(compression):
    data = tiff(BANDS, photometric="minisblack", planarconfig="separate", compression=compression)
    assert failure(data[:-40])[0] == FailureKind.TRUNCATED


@pytest.mark.parametrize("level", ["deflate", "lzw", "zstd", "lerc"])
def test_damaged_strips_are_errors_and_no_pixels(level):
    data = bytearray(geotiff(BANDS, compress=level, interleave="band"))
    start = first_page(bytes(data)).tags[273][0]
    data[start : start + 60] = bytes(60)
    with pytest.raises(READ_ERRORS):
        load(bytes(data))
