"""No profile, comment or preview decides about a JPEG's pixels, and what says how to read them is kept."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.corpus import encode, picture, with_orientation

from sam_batch.config import InputConfig
from sam_batch.data import pixels
from sam_batch.data.readers import jpeg
from sam_batch.errors import ImageError

GOOD = encode(picture(), "JPEG")
NOISE = np.random.default_rng(0).bytes(300)


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(marker, body, data=GOOD):
    return data[:2] + segment(marker, body) + data[2:]


def decoded(data):
    return pixels.decode(data, InputConfig(uri="-")).rgb_HW3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"JFIF\0",
        b"ICC_PROFILE\0",
        b"ICC_PROFILE\0" + NOISE,
        b"Exif\0\0" + NOISE,
        b"Exif\0\0II*\0\x08\0\0\0" + NOISE,
        b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='\xff'/>",
        b"MPF\0" + NOISE,
        b"Photoshop 3.0\0" + b"8BIM" + NOISE,
        b"\x1c\2",
        NOISE,
    ],
    ids=range(11),
)
def test_nothing_that_makes_no_pixels_decides_about_them(body):
    for marker in [*range(0xE0, 0xF0), 0xFE]:
        np.testing.assert_array_equal(decoded(with_segment(marker, body)), decoded(GOOD), err_msg=hex(marker))


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_orientation_is_kept(orientation):
    turned = decoded(with_orientation(orientation))
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="%d"/>' % orientation
    np.testing.assert_array_equal(decoded(with_segment(0xE1, xmp)), turned)


def test_what_says_how_colours_are_stored_is_kept():
    """Without Adobe's segment, CMYK would be inverted and RGB taken for YCbCr."""
    for data in (encode(Image.fromarray(picture()).convert("CMYK"), "JPEG"), encode(picture(), "JPEG", keep_rgb=True)):
        assert np.abs(decoded(data).astype(int) - picture()).mean() < 6


def test_the_profile_is_put_together_and_further_pictures_are_noticed():
    parts = [segment(0xE2, b"ICC_PROFILE\0" + bytes([number, 2]) + text) for number, text in ((1, b"sR"), (2, b"GB"))]
    bare = jpeg.bare(GOOD[:2] + b"".join(parts) + segment(0xE2, b"MPF\0") + GOOD[2:])
    assert (bare.profile, bare.has_more, bare.data) == (b"sRGB", True, jpeg.bare(GOOD).data)


def test_jpeg_ls_is_named():
    with pytest.raises(ImageError, match="compressed by JPEG-LS"):
        jpeg.bare(with_segment(0xF7, bytes(9), with_segment(0xE8, b"SPIFF\0")))


@given(st.binary(max_size=60), st.integers(2, len(GOOD)))
def test_damage_is_left_for_the_reader_to_find(noise, place):
    with contextlib.suppress(ImageError):  # noise may look like JPEG-LS
        once = jpeg.bare(GOOD[:place] + noise + GOOD[place + len(noise) :]).data
        assert jpeg.bare(once).data == once
