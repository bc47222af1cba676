"""Bytes to RGB: every file of the corpus ends as pixels or as a named failure, never as anything else."""

import contextlib
import pickle
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.corpus import HEIGHT, MAX_PIXELS, WIDTH, corpus, encode, picture, png, with_orientation
from support.kinds.geotiffs import GEOTIFFS
from support.kinds.tiffs import TIFFS
from support.tiffs import geotiff, tiff

from sam_batch.config import InputConfig
from sam_batch.data import pixels as module
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind, PixelNote

GOOD = sorted(name for name, (_, failure) in corpus().items() if failure is None)
BAD = sorted(name for name, (_, failure) in corpus().items() if failure is not None)


def whole(data, max_pixels=MAX_PIXELS, **settings):
    return module.decode(data, InputConfig(uri="-", max_pixels=max_pixels, **settings))


def decode(data, max_pixels=MAX_PIXELS, **settings):
    return whole(data, max_pixels, **settings).rgb_HW3


def pixels(name):
    return decode(corpus()[name][0])


def failure(data, max_pixels=MAX_PIXELS):
    with pytest.raises(ImageError) as caught:
        decode(data, max_pixels)
    return caught.value


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_becomes_contiguous_rgb_bytes(name):
    image = pixels(name)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_fails_as_its_kind_with_the_same_line_every_time(name):
    data, kind = corpus()[name]
    first, second = failure(data), failure(bytes(bytearray(data)))
    assert first.kind == kind
    assert str(first) == str(second)
    assert "0x" not in str(first)
    assert 0 < len(str(first)) < 300
    assert str(first).isprintable()
    assert str(pickle.loads(pickle.dumps(first))) == str(first)


HAND_TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", HAND_TURNED)
def test_the_orientation_is_applied_exactly_once(orientation, format_):
    options = {"lossless": True} if format_ == "WEBP" else {}
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encode(picture(), format_, exif=exif, **options))
    np.testing.assert_array_equal(image, HAND_TURNED[orientation](picture()))


@pytest.mark.parametrize("orientation", HAND_TURNED)
def test_a_jpeg_is_turned_after_it_was_decoded(orientation):
    as_stored = decode(with_orientation(1))
    np.testing.assert_array_equal(decode(with_orientation(orientation)), HAND_TURNED[orientation](as_stored))


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_outside_the_standard_is_ignored(orientation):
    np.testing.assert_array_equal(pixels(f"jpeg_orientation_{orientation}.jpg"), pixels("jpeg_orientation_1.jpg"))


@pytest.mark.parametrize(
    "name", ["png_rgba.png", "png_apng.png", "png_no_end.png", "webp_lossless_rgba.webp", "bmp.bmp", "tiff_pages.tif"]
)
def test_lossless_formats_give_the_first_frame_as_it_was(name):
    np.testing.assert_array_equal(pixels(name), picture())


@pytest.mark.parametrize(("many", "one"), [("gif_frames.gif", "gif.gif"), ("jpeg_mpo.jpg", "jpeg.jpg")])
def test_of_several_frames_the_first_counts(many, one):
    np.testing.assert_array_equal(pixels(many), pixels(one))


@pytest.mark.parametrize("name", ["jpeg_cmyk.jpg", "tiff_cmyk.tif", "tiff_lab.tif", "tiff_jpeg.tif"])
def test_other_colour_spaces_look_the_same(name):
    assert np.abs(pixels(name).astype(int) - picture()).mean() < 6


def test_alpha_is_laid_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 51, 255)
    image = decode(encode(rgba, "PNG"))
    np.testing.assert_array_equal(image[0, :, 0], [255, 204, 0])


def test_transparent_palette_entries_and_colour_keys_are_laid_on_white():
    box = np.all(picture() == (250, 30, 30), axis=2)
    assert (pixels("png_rgb_key.png")[box] == 255).all()
    np.testing.assert_array_equal(pixels("png_rgb_key.png")[~box], picture()[~box])
    assert (pixels("png_palette_transparent.png") == 255).all(axis=2).any()


def test_16_bit_grey_is_scaled_by_257_and_never_clipped():
    grey = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    for format_ in ("PNG", "TIFF"):
        image = decode(encode(Image.fromarray(grey), format_))
        np.testing.assert_array_equal(image[..., 0].ravel(), np.arange(256))
        assert (image == image[..., :1]).all()


def test_48_bit_colour_is_scaled_as_16_bit_grey_is():
    row = b"\0" + np.array([0x0102, 0xA0B0, 0xFF00], ">u2").tobytes()
    np.testing.assert_array_equal(decode(png(1, 1, 16, 2, row)), [[[1, 160, 254]]])


def test_12_bits_in_16_are_not_black():
    """A microscope's image: the mean was 7 of 255."""
    grey = np.random.default_rng(0).integers(1500, 3000, (32, 48)).astype(np.uint16)
    image = whole(encode(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(image.rgb_HW3[..., 0], np.rint(grey / 4095 * 255))
    assert image.notes == (PixelNote.DEPTH_REDUCED, PixelNote.RANGE_STRETCHED)


def test_near_infrared_is_not_laid_on_white():
    """NAIP: GDAL calls a fourth band alpha."""
    bands = np.random.default_rng(0).integers(0, 256, (4, 32, 48)).astype(np.uint8)
    data = geotiff(bands)
    np.testing.assert_array_equal(decode(data), np.moveaxis(bands[:3], 0, 2))
    np.testing.assert_array_equal(decode(data, bands=[4, 1, 2]), np.moveaxis(bands[[3, 0, 1]], 0, 2))
    assert whole(data).notes == (PixelNote.BANDS_DROPPED,)
    assert whole(data, alpha="blend").notes == (PixelNote.ALPHA_FLATTENED,)


def test_land_keeps_its_heights_beside_no_data():
    heights = np.linspace(100, 200, 32 * 48, dtype=np.float32).reshape(1, 32, 48).copy()
    heights[0, :4] = -9999
    image = whole(geotiff(heights, nodata=-9999))
    assert len(np.unique(image.rgb_HW3)) > 250
    assert PixelNote.NODATA_FILLED in image.notes
    np.testing.assert_array_equal(decode(geotiff(heights), nodata=-9999), image.rgb_HW3)


def test_alpha_is_ignored_where_the_user_says_so():
    hidden = picture()
    rgba = np.dstack([hidden, np.zeros((HEIGHT, WIDTH), np.uint8)])
    data = encode(rgba, "PNG")
    assert (decode(data) == 255).all()
    np.testing.assert_array_equal(decode(data, alpha="ignore"), hidden)


def test_alpha_of_16_bits_is_laid_on_white_in_its_own_range():
    samples = np.zeros((1, 3, 4), ">u2")
    samples[..., 3] = (0, 0x3333, 0xFFFF)
    image = decode(png(3, 1, 16, 6, b"\0" + samples.tobytes()))
    np.testing.assert_array_equal(image[0, :, 0], [255, 204, 0])


def test_a_range_or_bands_of_the_users_count_for_ordinary_images_too():
    data = encode(picture(), "PNG")
    np.testing.assert_array_equal(decode(data, bands=[3, 2, 1]), picture()[..., ::-1])
    np.testing.assert_array_equal(decode(data, bands=[2])[..., 0], picture()[..., 1])
    expected = np.rint(np.clip((picture().astype(float) - 50) / 150, 0, 1) * 255)
    np.testing.assert_array_equal(decode(data, scale=(50, 200)), expected)


@pytest.mark.parametrize("orientation", HAND_TURNED)
def test_a_tiff_that_pillow_cannot_read_is_turned_all_the_same(orientation):
    bands = np.random.default_rng(0).integers(0, 60_000, (HEIGHT, WIDTH, 5)).astype(np.uint16)
    turned = tiff(bands, photometric="minisblack", extratags=[(274, 3, 1, orientation, True)])
    upright = decode(tiff(bands, photometric="minisblack"))
    np.testing.assert_array_equal(decode(turned), HAND_TURNED[orientation](upright))


def test_the_result_may_be_written_to():
    for name in ("jpeg.jpg", "png_palette.png", "jpeg_grey.jpg", "png_rgba.png"):
        assert whole(corpus()[name][0]).rgb_HW3.flags.writeable


@pytest.mark.parametrize("scale", [1e-6, 1.0, 255.0, 1e9])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_wide_numbers_are_stretched_to_the_whole_range(scale, dtype):
    values = (np.linspace(-1, 1, 64).reshape(8, 8) * scale).astype(dtype)
    image = decode(encode(Image.fromarray(values), "TIFF"))
    if values.min() == values.max():
        assert (image == 128).all()
    else:
        assert (image.min(), image.max()) == (0, 255)


def test_no_bytes_behind_the_limit_are_decoded(monkeypatch):
    def decoded(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    for name in ("png_60000.png", "png_1bit_bomb.png", "jpeg_huge.jpg", "gif_huge.gif", "bmp_huge.bmp"):
        assert failure(corpus()[name][0]).kind == FailureKind.TOO_MANY_PIXELS


def test_the_callers_limit_holds_also_above_pillows_own():
    """Pillow warns at 89 million pixels; only `max_pixels` counts here."""
    data = png(10_000, 10_000, 1, 0, bytes(1251 * 10_000))
    assert decode(data, 100_000_000).shape == (10_000, 10_000, 3)


def test_too_little_memory_is_its_own_failure(monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    assert failure(corpus()["png.png"][0]).kind == FailureKind.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("name", "hint"), [("html.jpg", "HTML"), ("lfs_pointer.jpg", "Git LFS"), ("eps.jpg", "EPS is not supported")]
)
def test_the_message_says_what_the_file_seems_to_be(name, hint):
    assert hint in str(failure(corpus()[name][0]))


def test_pillows_warnings_stay_inside_in_every_thread():
    warning_files = [data for name, (data, _) in corpus().items() if name.startswith(("tiff", "jpeg_cut", "gif"))]
    leaked = []

    def work():
        for data in warning_files:
            try:
                decode(data)
            except (ImageError, Warning) as error:
                leaked.extend([error] if isinstance(error, Warning) else [])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert leaked == []


SEEDS = {name: corpus()[name][0] for name in GOOD} | {kind.name: kind.data() for kind in (*TIFFS, *GEOTIFFS)}
SEEDS = {name: data for name, data in SEEDS.items() if len(data) < 20_000}


@given(
    name=st.sampled_from(sorted(SEEDS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
    keep=st.floats(0.05, 1),
)
def test_damaged_bytes_give_pixels_or_an_image_error(name, changes, keep):
    data = bytearray(SEEDS[name])
    for position, value in changes:
        data[int(position * len(data))] = value
    with contextlib.suppress(ImageError):
        image = decode(bytes(data[: int(len(data) * keep)]))
        assert image.shape[2] == 3
        assert image.size <= 3 * MAX_PIXELS


def test_sizes_are_of_the_turned_image():
    assert pixels("jpeg_orientation_6.jpg").shape == (WIDTH, HEIGHT, 3)
