"""What Pillow's readers give, as it is stored, and what they leave out."""

import importlib.util
import io
import sys

import numpy as np
import pytest
from PIL import Image
from support.corpus import corpus, encode, picture, png, png_chunk

from sam_batch.data.bands import Bands
from sam_batch.data.readers.pillow import is_another_space, open_image
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind, PixelNote

WRITES_HEIC = importlib.util.find_spec("pillow_heif") is not None
PICTURE = Image.fromarray(picture())


def opened(name, data, max_pixels=1 << 20):
    return open_image(name, data, max_pixels)


def loaded(name, data):
    image = opened(name, data)
    return image.load(range(1, image.bands.count + 1))


def heic(image, **options):
    from pillow_heif import from_pillow

    buffer = io.BytesIO()
    from_pillow(image).save(buffer, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "format_", "bands"),
    [
        ("1", "PNG", Bands(1, (1,))),
        ("L", "PNG", Bands(1, (1,))),
        ("LA", "PNG", Bands(2, (1,), 2)),
        ("RGB", "PNG", Bands(3, (1, 2, 3))),
        ("RGBA", "PNG", Bands(4, (1, 2, 3), 4)),
        ("P", "PNG", Bands(3, (1, 2, 3))),
        ("I;16", "PNG", Bands(1, (1,))),
        ("F", "TIFF", Bands(1, (1,))),
        ("CMYK", "JPEG", Bands(3, (1, 2, 3))),
        ("RGB", "WebP", Bands(3, (1, 2, 3))),
    ],
)
def test_bands_are_known_before_anything_is_decoded(mode, format_, bands):
    image = PICTURE.convert("L").convert(mode) if mode in ("I;16", "F") else PICTURE.convert(mode)
    assert opened(format_, encode(image, format_)).bands == bands


def test_a_colour_that_stands_for_transparency_is_an_alpha_band():
    assert opened("PNG", encode(PICTURE, "PNG", transparency=(250, 30, 30))).bands == Bands(4, (1, 2, 3), 4)
    samples = np.array([[[1, 2, 3], [500, 600, 700]]], ">u2")
    key = png_chunk(b"tRNS", np.array([500, 600, 700], ">u2").tobytes())
    wide = png(2, 1, 16, 2, b"\0" + samples.tobytes(), key)
    np.testing.assert_array_equal(loaded("PNG", wide).samples_HWC, [[[1, 2, 3, 65535], [500, 600, 700, 0]]])
    grey = png(2, 1, 16, 0, b"\0" + samples[0, :, 0].tobytes(), png_chunk(b"tRNS", b"\1\xf4"))
    np.testing.assert_array_equal(loaded("PNG", grey).samples_HWC, [[[1, 65535], [500, 0]]])


@pytest.mark.parametrize(
    ("format_", "name"),
    [("GIF", "gif_frames.gif"), ("WebP", "webp_frames.webp"), ("PNG", "png_apng.png"), ("JPEG", "jpeg_mpo.jpg")],
)
def test_more_than_one_picture_is_noted(format_, name):
    assert loaded(format_, corpus()[name][0]).notes == {PixelNote.PAGES_DROPPED}


@pytest.mark.parametrize(
    ("format_", "name"), [("GIF", "gif.gif"), ("WebP", "webp.webp"), ("PNG", "png.png"), ("JPEG", "jpeg.jpg")]
)
def test_of_a_plain_picture_nothing_is_noted(format_, name):
    assert loaded(format_, corpus()[name][0]).notes == frozenset()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize(("profile", "ignored"), [(b"...sRGB IEC61966-2.1...", False), (b"...Display P3...", True)])
def test_a_profile_other_than_srgb_is_noted(format_, profile, ignored):
    notes = loaded(format_, encode(PICTURE, format_, icc_profile=profile)).notes
    assert (PixelNote.PROFILE_IGNORED in notes) == ignored


def test_profiles_are_told_apart_in_either_encoding_of_their_names():
    assert not is_another_space("sRGB".encode("utf-16-be"))
    assert is_another_space(b"Adobe RGB (1998)")
    assert not is_another_space(b"")


def test_cmyk_is_converted_and_noted():
    assert loaded("JPEG", corpus()["jpeg_cmyk.jpg"][0]).notes == {PixelNote.COLOURS_CONVERTED}


def test_avif_is_read_with_its_orientation_and_its_alpha():
    exif = Image.Exif()
    exif[0x0112] = 6
    translucent = PICTURE.copy()
    translucent.putalpha(99)
    image = loaded("AVIF", encode(translucent, "AVIF", quality=100, exif=exif))
    assert (image.samples_HWC.shape, image.orientation, image.notes) == ((32, 48, 4), 6, frozenset())
    assert np.abs(image.samples_HWC[..., :3].astype(int) - picture()).mean() < 3


@pytest.mark.skipif(not WRITES_HEIC, reason="pillow-heif, which can write HEIC, is not installed")
def test_heic_is_read_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = loaded("HEIC", heic(PICTURE, exif=exif.tobytes()))
    assert image.orientation == 1
    expected = picture().transpose(1, 0, 2)[:, ::-1]
    assert np.abs(image.samples_HWC.astype(int) - expected).mean() < 3


def test_heic_without_its_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError, match=r"extra heif: pip install 'sam-batch\[heif\]'") as caught:
        opened("HEIC", b"")
    assert caught.value.kind == FailureKind.UNSUPPORTED_FORMAT


def test_the_limit_counts_before_anything_is_decoded():
    with pytest.raises(ImageError, match="48 x 32 pixels; at most 1535") as caught:
        opened("PNG", corpus()["png.png"][0], max_pixels=1535)
    assert caught.value.kind == FailureKind.TOO_MANY_PIXELS
