"""A JPEG without the segments that do not make its pixels, so that no damaged profile decides whether it is read."""

from collections.abc import Iterator
from typing import Final

from sam_batch.data.readers.bare import Bare
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

_START, _SCAN, _COMMENT, _LOSSLESS = b"\xff\xd8", 0xDA, 0xFE, 0xF7
_APPLICATION: Final = range(0xE0, 0xF0)
_MAKES_PIXELS: Final = {  # segments of applications, by what they begin with, and how long they are at least
    (0xE0, b"JFIF\0"): 14,  # says that colours are YCbCr
    (0xE1, b"Exif\0"): 6,  # the orientation, also in XMP
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0"): 29,
    (0xEE, b"Adobe"): 12,  # says whether colours were transformed, and CMYK inverted
}
_PROFILE: Final = b"ICC_PROFILE\0"
_MORE_PICTURES: Final = b"MPF\0"


def bare(data: bytes) -> Bare:
    """Leave out comments and applications' segments that do not make pixels. Damage is left in place.

    Raises:
        ImageError: Of kind unsupported_compression: JPEG-LS, which begins as a JPEG does.
    """
    kept, profile, has_more = [_START], b"", False
    end = len(_START)
    for marker, start, end in _segments(data):
        if marker == _LOSSLESS:
            raise ImageError(FailureKind.UNSUPPORTED_COMPRESSION, "it is compressed by JPEG-LS")
        body = data[start + 4 : end]
        has_more |= marker == 0xE2 and body.startswith(_MORE_PICTURES)
        if marker == 0xE2 and body.startswith(_PROFILE):
            profile += body[len(_PROFILE) + 2 :]  # two bytes number the profile's segments
        is_extra = marker in _APPLICATION or marker == _COMMENT
        if not is_extra or any(
            marker == of and body.startswith(name) and len(body) >= least for (of, name), least in _MAKES_PIXELS.items()
        ):
            kept.append(data[start:end])
    return Bare(b"".join([*kept, data[end:]]), has_more, profile)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment before the first scan, as far as they follow one another."""
    start = len(_START)
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if marker in (_SCAN, 0xFF, 0x00) or 0xD0 <= marker <= 0xD9 or end < start + 4 or end > len(data):
            return
        yield marker, start, end
        start = end
