"""A PNG without what does not make its pixels, so that no text and no profile can decide whether it is read.

Pillow refuses an image for the size of a comment, and takes some keywords of texts for properties of the picture.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from sam_batch.data.readers.bare import Bare

_SIGNATURE_SIZE: Final = 8
_MAKES_PIXELS: Final = (b"tRNS", b"eXIf")  # of the chunks that a reader may skip
_XMP: Final = b"XML:com.adobe.xmp\0"
_EXIF_AS_TEXT: Final = b"Raw profile type exif\0"
_MOST_TEXT: Final = 1 << 20  # bytes of a text that is read for the orientation, unpacked


def bare(data: bytes) -> Bare:
    """Leave out every ancillary chunk but transparency and orientation. Never fails: damage is left in place."""
    kept, has_more, profile = [data[:_SIGNATURE_SIZE]], False, b""
    for tag, start, end in _chunks(data):
        body = data[start + 8 : end - 4]
        if not tag[0] & 0x20 or tag in _MAKES_PIXELS or _has_orientation(tag, body):
            kept.append(data[start:end])
        elif tag == b"acTL":
            has_more = int.from_bytes(body[:4], "big") > 1
        elif tag == b"iCCP":
            profile = _unpacked(body.partition(b"\0")[2][1:])
    return Bare(b"".join(kept), has_more, profile)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's tag, start and end; the last one may end behind the file. What follows IEND is left out."""
    start = _SIGNATURE_SIZE
    while start + 8 <= len(data):
        length, tag = struct.unpack_from(">I4s", data, start)
        yield tag, start, start + 12 + length
        if tag == b"IEND":
            return
        start += 12 + length


def _has_orientation(tag: bytes, body: bytes) -> bool:
    """Whether a text holds EXIF or XMP, and so little of it that Pillow takes it."""
    if not body.startswith((_XMP, _EXIF_AS_TEXT)) or tag not in (b"tEXt", b"zTXt", b"iTXt"):
        return False
    text = body.partition(b"\0")[2]
    packed = {b"tEXt": b"", b"zTXt": text[1:], b"iTXt": text[2:] if text[:1] == b"\1" else b""}[tag]
    if tag == b"iTXt" and packed:
        packed = packed.partition(b"\0")[2].partition(b"\0")[2]
    return len(body) < _MOST_TEXT and len(_unpacked(packed)) < _MOST_TEXT


def _unpacked(packed: bytes) -> bytes:
    """At most `_MOST_TEXT` bytes of what was packed; nothing where it is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, _MOST_TEXT)
    except zlib.error:
        return b""
