"""What a file is, by its bytes: the formats that are read, those that are refused by name, and what is no image."""

import pytest

from sam_batch.data.readers.formats import READ, format_of
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind


def refused(data):
    with pytest.raises(ImageError) as caught:
        format_of(data)
    return caught.value.kind, str(caught.value)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n", "PNG"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"BM", "BMP"),
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x1cftypavis\0\0\0\0", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiafavif", "HEIC"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypheix\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypmsf1\0\0\0\0hevc", "HEIC"),
    ],
)
def test_the_first_bytes_say_what_is_read(start, name):
    assert format_of(start + bytes(100)) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop"),
        (bytes(128) + b"DICM", "DICOM"),
        (bytes(344) + b"n+1\0", "NIfTI"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"FUJIFILMCCD-RAW", "Fujifilm raw"),
        (b"\0\0\0\x18ftypcrx ", "Canon raw"),
    ],
)
def test_other_images_are_refused_by_name(data, name):
    kind, message = refused(data + bytes(100))
    assert kind == FailureKind.UNSUPPORTED_FORMAT
    assert message.startswith(name)
    assert message.endswith(", ".join(READ))


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"\0\0\0\x20ftypisom", "a video (MP4"),
        (b"\0\0\0\x14ftypqt  ", "a video (MP4"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (b"\x1a\x45\xdf\xa3", "a video (Matroska"),
        (b"a.jpg".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
        (b"PAR1\x15", "a Parquet file"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"\x1f\x8b\x08", "compressed data (gzip)"),
        (b"PK\3\4", "a ZIP archive"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"\x80\4\x95", "a Python pickle"),
        (b"  <!DOCTYPE html>", "an HTML page"),
        (b"<html>", "an HTML page"),
        (b"<svg xmlns=", "XML or SVG"),
        (b'{"error": 404}', "JSON"),
        (b"version https://git-lfs.github.com", "a Git LFS pointer"),
        (bytes(64), "zeros only"),
        (b"name,label\na.jpg,1\n", "text"),
    ],
)
def test_what_is_no_image_is_said_to_look_like_what_it_is(data, hint):
    kind, message = refused(data)
    assert kind == FailureKind.NOT_AN_IMAGE
    assert message.startswith(f"not an image; it looks like {hint}")


def test_nothing_and_noise_are_called_so():
    assert refused(b"") == (FailureKind.EMPTY_FILE, "the file has no bytes")
    assert refused(b"\xfe\x12\x03") == (FailureKind.NOT_AN_IMAGE, "not an image")
