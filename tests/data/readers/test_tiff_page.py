"""What a TIFF says of its pixels, whatever its byte order and however it is damaged."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from support.tiffs import geotiff, tiff, with_tag

from sam_batch.data.bands import Bands
from sam_batch.data.readers.tiff_page import SUBFILE, ends_early, first_page
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

FOUR = np.random.default_rng(0).integers(0, 256, (4, 32, 48)).astype(np.uint8)
RED, GREEN, BLUE, ALPHA = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_both_byte_orders_and_sizes_are_read(order, big):
    page = first_page(tiff(FOUR[0].astype(np.uint16), byteorder=order, bigtiff=big))
    assert (page.count, page.bits, page.type, page.big_endian) == (1, 16, "uint", order == ">")


@pytest.mark.parametrize(
    ("data", "bands"),
    [
        (geotiff(FOUR), Bands(4, (1, 2, 3), 4, alpha_is_sure=False)),
        (geotiff(FOUR, crs=None), Bands(4, (1, 2, 3), 4)),
        (geotiff(FOUR, photometric="MINISBLACK"), Bands(4, (1, 2, 3), alpha_is_sure=False)),
        (geotiff(FOUR, [BLUE, GREEN, RED, ColorInterp.undefined]), Bands(4, (3, 2, 1), alpha_is_sure=False)),
        (geotiff(FOUR, [BLUE, GREEN, RED, ALPHA], photometric="MINISBLACK"), Bands(4, (3, 2, 1), 4)),
        (geotiff(FOUR[:2]), Bands(2, (1,), alpha_is_sure=False)),
        (geotiff(FOUR[:2], alpha="yes"), Bands(2, (1,), 2, alpha_is_sure=False)),
        (tiff(np.moveaxis(FOUR, 0, 2), photometric="rgb", extrasamples=["unspecified"]), Bands(4, (1, 2, 3))),
        (tiff(np.moveaxis(FOUR, 0, 2), photometric="rgb", extrasamples=["unassalpha"]), Bands(4, (1, 2, 3), 4)),
        (tiff(FOUR, photometric="minisblack", planarconfig="separate"), Bands(4, (1, 2, 3))),
        (tiff(FOUR[0]), Bands(1, (1,))),
    ],
)
def test_bands_mean_what_the_file_says(data, bands):
    assert first_page(data).bands == bands


@pytest.mark.parametrize(("text", "value"), [(-9999, -9999.0), (0, 0.0), (255, 255.0)])
def test_gdals_no_data_is_read(text, value):
    assert first_page(geotiff(FOUR.astype(np.float32), nodata=text)).nodata == value


def test_no_data_that_is_no_number_is_none():
    assert np.isnan(first_page(geotiff(FOUR.astype(np.float32), nodata=np.nan)).nodata)
    assert first_page(tiff(FOUR[0], extratags=[(42113, 2, 0, "none", True)])).nodata is None


def test_pages_are_pictures_and_neither_previews_nor_masks():
    assert not first_page(tiff(FOUR[0])).has_more
    assert first_page(tiff(FOUR, photometric="minisblack")).has_more
    overviews = first_page(geotiff(FOUR[:3], overviews=True))
    assert not overviews.has_more
    masked = first_page(geotiff(FOUR[:3], mask_HW=FOUR[3] > 99))
    assert (masked.has_more, masked.has_mask) == (False, True)


def test_imagejs_stacks_of_one_directory_have_more_pages():
    description = "ImageJ=1.54f\nimages=20\nslices=20\n"
    assert first_page(tiff(FOUR[0], description=description, metadata=None)).has_more


def test_a_preview_in_front_is_passed_over():
    stack = tiff(FOUR, photometric="minisblack", metadata=None, subfiletype=0)
    assert first_page(with_tag(stack, SUBFILE, "I", [1])).index == 1


def test_a_cameras_raw_file_is_refused():
    raw = tiff(FOUR[0], extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    with pytest.raises(ImageError, match="DNG") as caught:
        first_page(raw)
    assert caught.value.kind == FailureKind.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff(FOUR[0]), "1 band of uint8"),
        (geotiff(FOUR.astype(np.float64)), "4 bands of float64"),
        (geotiff(FOUR.astype(np.complex64)), "4 bands of complex float64"),
        (tiff(FOUR[0], compression="lerc"), "1 band of uint8, compressed by LERC"),
        (with_tag(tiff(FOUR[0]), 259, "H", [4711]), "1 band of uint8, compressed by compression 4711"),
    ],
)
def test_it_is_said_in_words(data, words):
    assert str(first_page(data)) == words


@pytest.mark.parametrize("size", [4, 8, 100])
def test_a_file_that_ends_before_its_directory_is_truncated(size):
    data = geotiff(FOUR)
    data = data[:4] + (len(data) + 9).to_bytes(4, "little") + data[8:]
    with pytest.raises(ImageError) as caught:
        first_page(data[:size])
    assert caught.value.kind == FailureKind.TRUNCATED
    assert ends_early(data[:size])


def test_only_what_goes_on_behind_the_end_ends_early():
    data = tiff(FOUR[0])
    assert not ends_early(data)
    assert ends_early(data[:-1])


@given(st.binary(max_size=60), st.integers(0, 400), st.sampled_from(["<", ">"]), st.booleans())
def test_damage_is_refused_or_read_around(noise, place, order, big):
    data = tiff(FOUR[0], byteorder=order, bigtiff=big)
    damaged = data[:place] + noise + data[place + len(noise) :]
    with contextlib.suppress(ImageError):
        page = first_page(damaged)
        assert (page.bands.count, str(page)) == (page.count, str(page))
    ends_early(damaged)
