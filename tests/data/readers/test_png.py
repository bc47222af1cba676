"""No text and no profile decides about a PNG's pixels, and only what says how it is turned is kept."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.corpus import encode, picture, png_chunk

from sam_batch.config import InputConfig
from sam_batch.data import pixels
from sam_batch.data.readers import png

GOOD = encode(picture(), "PNG")
HEADER = 33  # signature and IHDR
MEGABYTES = bytes(3 << 20)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'


def with_chunks(*chunks, after=False):
    place = len(GOOD) - 12 if after else HEADER
    return GOOD[:place] + b"".join(chunks) + GOOD[place:]


def decoded(data):
    return pixels.decode(data, InputConfig(uri="-"))


CHUNKS = {
    "zTXt": png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(MEGABYTES)),
    "tEXt": png_chunk(b"tEXt", b"workflow\0" + MEGABYTES),
    "iTXt": png_chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(MEGABYTES)),
    "XMP": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + MEGABYTES),
    "packed XMP": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(MEGABYTES)),
    "EXIF as text": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(MEGABYTES)),
    "iCCP": png_chunk(b"iCCP", b"big\0\0" + zlib.compress(MEGABYTES)),
    "iCCP of an unknown method": png_chunk(b"iCCP", b"odd\0\7xx"),
    "cut pHYs": png_chunk(b"pHYs", b"\0"),
    "cut gAMA": png_chunk(b"gAMA", b""),
    "cut cHRM": png_chunk(b"cHRM", b"\0" * 5),
    "cut eXIf": png_chunk(b"eXIf", b"MM\0*\0"),
    "large eXIf": png_chunk(b"eXIf", b"MM\0*\0\0\0\x08" + MEGABYTES),
    "wrong checksum": png_chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0",
    "text called transparency": png_chunk(b"tEXt", b"transparency\0red"),
    "text called interlace": png_chunk(b"tEXt", b"interlace\0yes"),
    "unknown": png_chunk(b"caBX", MEGABYTES),
    "many texts": png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20))) * 100,
}


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", CHUNKS)
def test_nothing_that_makes_no_pixels_decides_about_them(name, after):
    np.testing.assert_array_equal(decoded(with_chunks(CHUNKS[name], after=after)).rgb_HW3, picture())


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    ],
    ids=["XMP", "packed XMP", "EXIF"],
)
def test_what_says_how_the_picture_is_turned_is_kept(chunk):
    np.testing.assert_array_equal(decoded(with_chunks(chunk)).rgb_HW3, picture().transpose(1, 0, 2)[:, ::-1])


def test_further_frames_are_noticed_and_the_profile_is_handed_out():
    profile = png_chunk(b"iCCP", b"mine\0\0" + zlib.compress(b"Display P3"))
    bare = png.bare(with_chunks(png_chunk(b"acTL", struct.pack(">II", 7, 0)), profile))
    assert (bare.has_more, bare.profile) == (True, b"Display P3")
    assert len(bare.data) == len(GOOD)


def test_nothing_behind_the_end_is_read():
    assert png.bare(GOOD + GOOD).data == GOOD


@given(st.binary(max_size=60), st.integers(0, len(GOOD)))
def test_damage_is_left_for_the_reader_to_find(noise, place):
    once = png.bare(GOOD[:place] + noise + GOOD[place + len(noise) :]).data
    assert png.bare(once).data == once
