"""Whatever a TIFF's layout, its samples are those that GDAL reads; what nobody here reads is said in words."""

import itertools

import numpy as np
import pytest
from support.tiffs import by_gdal, by_tifffile, geotiff, tiff, with_tag

from sam_batch.config import InputConfig
from sam_batch.data import pixels
from sam_batch.data.readers import tiff as module
from sam_batch.data.readers.opened import Opened
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind, PixelNote

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]
KEYS = ("photometric", "compress", "predictor", "ENDIANNESS", "interleave", "tiled")
LAYOUTS = [
    dict(zip(KEYS, layout, strict=True))
    for layout in itertools.product(
        ["MINISBLACK", "RGB"], ["none", "lzw", "zstd"], [1, 2], ["LITTLE", "BIG"], ["pixel", "band"], [False, True]
    )
    if layout[1:3] != ("none", 2)
]


def opened(data, **settings) -> Opened:
    return module.open_image(data, InputConfig(uri="-", **settings))


def failure(data, **settings):
    with pytest.raises(ImageError) as caught:
        opened(data, **settings)
    return caught.value.kind, str(caught.value)


def drawn(dtype, count=4):
    """(count, 37, 50) of any values that the type has."""
    random, dtype = np.random.default_rng(0), np.dtype(dtype)
    if dtype.kind == "f":
        return random.normal(size=(count, 37, 50)).astype(dtype)
    return random.integers(0, 256, (count, 37, 50, dtype.itemsize), np.uint8).view(dtype)[..., 0]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_layout_gives_the_samples_that_gdal_reads(dtype, count):
    bands = drawn(dtype, count)
    for layout in LAYOUTS if count >= 3 else LAYOUTS[: len(LAYOUTS) // 2]:  # RGB takes three
        tiles = {"blockxsize": 16, "blockysize": 16} if layout["tiled"] else {}
        data = geotiff(bands, **layout, **tiles, alpha="no" if layout["tiled"] else "yes")
        image = opened(data)
        loaded = image.load(range(1, len(image.bands.colour) + 1)).samples_HWC
        expected = by_gdal(data)[..., : loaded.shape[2]]
        assert loaded.dtype.newbyteorder("=") == (np.int32 if dtype == "i2" and loaded.dtype == "i4" else bands.dtype)
        np.testing.assert_array_equal(loaded, expected, err_msg=str(layout))


@pytest.mark.parametrize("numbers", [(1, 2, 3), (8, 4, 3), (13,), (13, 13, 1)])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_any_bands_of_many_are_read_in_any_order(numbers, interleave):
    data = geotiff(drawn("u2", 13), interleave=interleave, compress="deflate")
    loaded = opened(data, bands=numbers if len(numbers) in (1, 3) else None).load(numbers).samples_HWC
    np.testing.assert_array_equal(loaded, by_gdal(data)[..., [number - 1 for number in numbers]])


@pytest.mark.parametrize("compress", ["lerc", "lerc_deflate", "lzma", "packbits"])
def test_compressions_that_pillow_lacks_are_read(compress):
    data = geotiff(drawn("u2", 3), compress=compress)
    np.testing.assert_array_equal(opened(data).load((1, 2, 3)).samples_HWC, by_gdal(data))


@pytest.mark.parametrize("compression", ["webp", "jpegxl", "jpeg2000", "png"])
def test_pictures_within_a_tiff_are_read(compression):
    lossless = {} if compression == "png" else {"compressionargs": {"lossless": True}}
    if compression == "jpeg2000":
        lossless = {"compressionargs": {"reversible": True, "level": 0}}
    picture = np.moveaxis(drawn("u1", 3), 0, 2)
    data = tiff(picture, photometric="rgb", compression=compression, tile=(16, 16), **lossless)
    np.testing.assert_array_equal(opened(data).load((1, 2, 3)).samples_HWC, picture)


def test_12_bits_are_unpacked_and_known_to_be_12():
    data = geotiff(drawn("u2", 1) & 0xFFF, NBITS=12)
    image = opened(data)
    assert image.kind.bits == 12
    np.testing.assert_array_equal(image.load((1,)).samples_HWC, by_gdal(data))
    many = geotiff(drawn("u2", 4) & 0xFFF, NBITS=12, compress="lzw")
    assert opened(many).kind.bits == 12
    np.testing.assert_array_equal(opened(many).load((1, 2, 3)).samples_HWC, by_gdal(many)[..., :3])


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("count", [1, 3])
def test_white_is_lowest_where_the_file_says_so(dtype, count):
    kind = opened(geotiff(drawn(dtype, count), photometric="MINISWHITE")).kind
    assert kind.min_is_white == (dtype != "u1" or count == 3)  # Pillow has turned the 8-bit greys already


def test_float16_and_a_last_strip_that_is_short_are_read():
    data = tiff(drawn("f4", 1)[0].astype(np.float16), rowsperstrip=16)
    np.testing.assert_array_equal(opened(data).load((1,)).samples_HWC[..., 0], by_tifffile(data))


def test_what_a_sparse_file_leaves_out_is_no_data():
    data = geotiff(np.zeros((5, 32, 32), np.int16), SPARSE_OK=True, tiled=True, blockxsize=16, blockysize=16, nodata=-7)
    loaded = opened(data).load((1, 2, 3))
    assert (loaded.samples_HWC == by_gdal(data)[..., :3]).all()


def test_bands_below_alpha_that_is_not_sure_stay_as_they_are_stored():
    """Pillow would divide the colours by what it takes for their alpha."""
    samples = np.moveaxis(drawn("u1", 4), 0, 2)
    data = tiff(samples, photometric="rgb", extrasamples=["assocalpha"], extratags=[(33550, 12, 3, (1, 1, 0), True)])
    image = opened(data)
    assert (image.bands.alpha, image.bands.alpha_is_sure) == (4, False)
    np.testing.assert_array_equal(image.load((1, 2, 3)).samples_HWC, samples[..., :3])


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (tiff(drawn("u1", 3), photometric="minisblack"), PixelNote.PAGES_DROPPED),
        (geotiff(drawn("u1", 3), mask_HW=drawn("u1")[0] > 9), PixelNote.MASK_IGNORED),
        (tiff(drawn("u1", 1)[0], iccprofile=b"Adobe RGB"), PixelNote.PROFILE_IGNORED),
        (tiff(drawn("f4", 1)[0]), PixelNote.DEPTH_REDUCED),
    ],
)
def test_what_is_lost_is_noted(data, note):
    assert opened(data).load((1,)).notes == {note}


ODD_VALUES = {
    "bytes": (1, 3, (255, 0, 7)),
    "number": (4, 1, 2**32 - 1),
    "ratio": (5, 1, (0, 0)),
    "text": (2, 0, "x" * 70_000),
}


@pytest.mark.parametrize("odd", ODD_VALUES)
@pytest.mark.parametrize(
    "tag", [282, 296, 301, 306, 315, 320, 347, 532, 700, 33550, 33723, 34377, 34665, 34675, 34853, 42112, 42113]
)
def test_tags_that_make_no_pixels_do_not_decide_about_them(tag, odd):
    """XMP as text, no-data that is no number, a resolution of 0/0."""
    plain = {"metadata": None, "description": None, "software": None, "resolution": None}
    picture = np.moveaxis(drawn("u1", 5), 0, 2)
    for samples, photometric in ((picture[..., :3], "rgb"), (picture, "minisblack")):
        extra = [(tag, *ODD_VALUES[odd], True)]
        data = tiff(samples, photometric=photometric, planarconfig="contig", extratags=extra, **plain)
        np.testing.assert_array_equal(pixels.decode(data, InputConfig(uri="-")).rgb_HW3, picture[..., :3])


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (geotiff(drawn("f4", 1).astype(np.complex64)), FailureKind.UNSUPPORTED_SAMPLES, "1 band of complex float64"),
        (
            tiff(drawn("u2", 1)[0], photometric="cfa", extratags=[(33421, 3, 2, (2, 2), True)]),
            FailureKind.UNSUPPORTED_SAMPLES,
            "1 band of uint16, as a sensor's mosaic",
        ),
        (
            with_tag(tiff(drawn("u1", 1)[0]), 259, "H", [4711]),
            FailureKind.UNSUPPORTED_COMPRESSION,
            "1 band of uint8, compressed by compression 4711",
        ),
        (tiff(np.moveaxis(drawn("u2", 3), 0, 2), photometric="cielab"), FailureKind.UNSUPPORTED_SAMPLES, "as Lab"),
    ],
)
def test_what_nobody_reads_is_said_in_words(data, kind, words):
    found, message = failure(data)
    assert found == kind
    assert words in message


def test_bands_that_are_not_there_are_refused_before_anything_is_decoded():
    assert failure(geotiff(drawn("u1", 3)), bands=[4])[0] == FailureKind.MISSING_BANDS


def test_the_limit_counts_before_anything_is_decoded():
    assert failure(geotiff(drawn("f8", 5)), max_pixels=37 * 50 - 1)[0] == FailureKind.TOO_MANY_PIXELS
