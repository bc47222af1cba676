"""What readers raise becomes a kind of failure: by the error, and by whether the file goes on behind its end."""

import struct

import pytest
from support.corpus import encode, picture
from support.tiffs import tiff

from sam_batch.data.readers.errors import translated
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

WHOLE_WEBP = encode(picture(), "WEBP")
BOXES = struct.pack(">I4s8s", 16, b"ftyp", b"avif\0\0\0\0") + struct.pack(">I4sQ", 1, b"mdat", 24) + bytes(8)


def kind_of(error, name="PNG", data=b"IEND"):
    with pytest.raises(ImageError) as caught, translated(name, data):
        raise error
    return caught.value.kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("broken"), FailureKind.CORRUPT),
        (EOFError("no more"), FailureKind.TRUNCATED),
        (OSError("image file is truncated (3 bytes not processed)"), FailureKind.TRUNCATED),
        (SyntaxError("cannot handle 12-bit layers"), FailureKind.UNSUPPORTED_SAMPLES),
        (OSError("Unsupported BMP pixel depth (64)"), FailureKind.UNSUPPORTED_SAMPLES),
        (OSError("Unsupported BMP compression (4)"), FailureKind.UNSUPPORTED_COMPRESSION),
        (MemoryError(), FailureKind.OUT_OF_MEMORY),
        (ImageError(FailureKind.MISSING_BANDS, "it has 3"), FailureKind.MISSING_BANDS),
    ],
)
def test_an_error_becomes_its_kind(error, kind):
    assert kind_of(error) == kind


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("JPEG", encode(picture(), "JPEG")),
        ("PNG", encode(picture(), "PNG")),
        ("GIF", encode(picture(), "GIF")),
        ("WebP", WHOLE_WEBP),
        ("BMP", encode(picture(), "BMP")),
        ("AVIF", BOXES),
        ("HEIC", BOXES),
        ("TIFF", tiff(picture())),
    ],
)
def test_a_file_that_goes_on_behind_its_end_is_truncated_and_a_whole_one_corrupt(name, whole):
    error = ValueError("broken data stream")
    assert kind_of(error, name, whole) == FailureKind.CORRUPT
    assert kind_of(error, name, whole[: len(whole) * 3 // 4]) == FailureKind.TRUNCATED


def test_other_errors_are_the_programs_own():
    with pytest.raises(ImportError), translated("PNG", b""):
        raise ImportError


def test_the_message_is_one_line_without_addresses():
    with pytest.raises(ImageError) as caught, translated("PNG", b"IEND"):
        raise ValueError("bad\n <_io.BytesIO object at 0x7f00deadbeef>\tthing")
    assert str(caught.value) == "PNG: bad <_io.BytesIO> thing"
