"""What a TIFF says of its pixels: its directories, read without a library, since no two read all of them alike.

Only the tags that decide about pixels are looked at; damage elsewhere harms nobody. It decodes nothing.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sam_batch.data.bands import Bands
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

Value: TypeAlias = tuple[int | float, ...] | bytes

_FORMATS: Final = {
    1: "B",
    2: "c",
    3: "H",
    4: "I",
    6: "b",
    7: "c",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    18: "Q",
}
_MOST_TAGS: Final = 4096
_MOST_VALUES: Final = 1 << 20
_MOST_PAGES: Final = 64  # looked through for the first that is a picture

SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
DESCRIPTION, STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_SIZES, PLANAR = 270, 273, 274, 277, 279, 284
TILE_OFFSETS, TILE_SIZES, SUBIFDS, EXTRA, FORMAT = 324, 325, 330, 338, 339
IMAGE_DEPTH, PROFILE, GDAL_METADATA, GDAL_NODATA, DNG_VERSION = 32997, 34675, 42112, 42113, 50706
_GEO: Final = (33550, 33922, 34264, 34735, GDAL_METADATA, GDAL_NODATA)  # pixel scale, tie point, transform, keys
_KNOWN: Final = {
    SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION, STRIP_OFFSETS, ORIENTATION, SAMPLES,
    STRIP_SIZES, PLANAR, TILE_OFFSETS, TILE_SIZES, SUBIFDS, EXTRA, FORMAT, IMAGE_DEPTH, PROFILE, DNG_VERSION, *_GEO,
}  # fmt: skip
_REDUCED, _MASK = 1, 4  # bits of SUBFILE
_ALPHA: Final = (1, 2)  # of EXTRA: associated, unassociated
_ROLE: Final = re.compile(rb'sample="(\d+)" role="colorinterp">(\w+)<')
_IMAGEJ_PAGES: Final = re.compile(rb"ImageJ=.*?\nimages=(\d+)", re.DOTALL)

COMPRESSIONS: Final = {
    1: "none", 2: "CCITT", 3: "CCITT group 3", 4: "CCITT group 4", 5: "LZW", 6: "old-style JPEG", 7: "JPEG",
    8: "Deflate", 32773: "PackBits", 32946: "Deflate", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000",
    34676: "SGI LogL", 34677: "SGI Log24", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA",
    34933: "PNG", 34934: "JPEG XR", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_TYPES: Final = {1: "uint", 2: "int", 3: "float", 4: "undefined", 5: "complex int", 6: "complex float"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is a picture.

    Attributes:
        index: Its place among the file's pages.
        big_endian: Whether the file's numbers are.
        tags: Values by tag; texts are bytes.
        has_more: Whether other pages are pictures too.
        has_mask: Whether a page says which of the pixels count.
    """

    index: int
    big_endian: bool
    tags: Mapping[int, Value] = field(repr=False)
    has_more: bool = False
    has_mask: bool = False

    def number(self, tag: int, default: int = 0) -> int:
        """A tag's first value."""
        values = self.tags.get(tag, ())
        return int(values[0]) if values else default

    def text(self, tag: int) -> bytes:
        """A tag's bytes; none where it is missing or no text."""
        value = self.tags.get(tag, b"")
        return value if isinstance(value, bytes) else b""

    @property
    def count(self) -> int:
        """How many bands are stored."""
        return self.number(SAMPLES, 1)

    @property
    def photometric(self) -> int:
        """What the colours are: 0 and 1 grey, 2 RGB."""
        return self.number(PHOTOMETRIC, 1)

    @property
    def bits(self) -> int:
        """Bits of a sample; 0 where bands differ."""
        values = set(self.tags.get(BITS, (1,)))
        return int(values.pop()) if len(values) == 1 else 0

    @property
    def type(self) -> str:
        """The samples' type in words, such as uint or float; "mixed" where bands differ."""
        values = set(self.tags.get(FORMAT, (1,)))
        return _TYPES.get(int(values.pop()), "unknown") if len(values) == 1 else "mixed"

    @property
    def extra(self) -> tuple[int, ...]:
        """What the bands behind the colours are; 0 is unspecified."""
        return tuple(int(value) for value in self.tags.get(EXTRA, ()))

    @property
    def is_geo(self) -> bool:
        """Whether software for maps made it."""
        return any(tag in self.tags for tag in _GEO)

    @property
    def nodata(self) -> float | None:
        """GDAL's value for no data."""
        try:
            return float(self.text(GDAL_NODATA).strip(b"\0 "))
        except ValueError:
            return None

    @property
    def bands(self) -> Bands:
        """What its bands mean, where they are grey or RGB."""
        roles = {role: int(number) + 1 for number, role in _ROLE.findall(self.text(GDAL_METADATA))}
        colours = self.count - len(self.extra)
        alphas = [colours + place for place, kind in enumerate(self.extra, 1) if kind in _ALPHA]
        alpha = roles.get(b"Alpha", alphas[0] if alphas else None)
        named = tuple(roles.get(role, 0) for role in (b"Red", b"Green", b"Blue"))
        if not all(0 < number <= self.count for number in named):
            others = [number for number in range(1, self.count + 1) if number != alpha]
            named = tuple(others[:3] if len(others) >= 3 else others[:1])
        is_sure = not self.is_geo or b"Alpha" in roles
        return Bands(self.count, named, alpha if alpha and alpha <= self.count else None, is_sure)

    def __str__(self) -> str:
        number = self.number(COMPRESSION, 1)
        compression = COMPRESSIONS.get(number, f"compression {number}")
        bands = f"{self.count} band{'s' * (self.count > 1)} of {self.type}{self.bits or ''}"
        return bands if compression == "none" else f"{bands}, compressed by {compression}"


def first_page(data: bytes) -> Page:
    """The first page that is a picture: no preview of another and no mask.

    Raises:
        ImageError: Of kind truncated: the file ends before its first directory; corrupt: it has none; or
            unsupported_format: it is a camera's raw file.
    """
    pages = list(_pages(data))
    if not pages:
        raise ImageError(FailureKind.CORRUPT, "its first directory is damaged")
    pictures = [page for page in pages if not page.number(SUBFILE) & (_REDUCED | _MASK)]
    page = (pictures or pages)[0]
    if DNG_VERSION in page.tags or (not pictures and SUBIFDS in page.tags):
        raise ImageError(FailureKind.UNSUPPORTED_FORMAT, "a camera's raw file (DNG, NEF, ARW); develop it first")
    in_one = _IMAGEJ_PAGES.match(page.text(DESCRIPTION))
    has_more = len(pictures) > 1 or (in_one is not None and int(in_one[1]) > 1)
    has_mask = any(other.number(SUBFILE) & _MASK for other in pages)
    return Page(page.index, page.big_endian, page.tags, has_more, has_mask)


def ends_early(data: bytes) -> bool:
    """Whether the pixels that a TIFF's first page speaks of go on behind the file's end."""
    try:
        page = first_page(data)
    except ImageError as error:
        return error.kind == FailureKind.TRUNCATED
    offsets = page.tags.get(STRIP_OFFSETS) or page.tags.get(TILE_OFFSETS) or ()
    sizes = page.tags.get(STRIP_SIZES) or page.tags.get(TILE_SIZES) or ()
    return any(offset + size > len(data) for offset, size in zip(offsets, sizes, strict=False))


def _pages(data: bytes) -> Iterator[Page]:
    """The directories of the main chain, up to the first damaged one, and no more than tell what the file is."""
    big_endian = data[:2] == b"MM"
    order, big = (">" if big_endian else "<"), 43 in data[2:4]
    head = data[:16].ljust(16, b"\xff")
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    if offset >= len(data):
        raise ImageError(FailureKind.TRUNCATED, "the file ends before its first directory")
    seen: set[int] = set()
    while 0 < offset < len(data) and offset not in seen and len(seen) < _MOST_PAGES:
        seen.add(offset)
        try:
            tags, offset_of_next = _directory(data, offset, order, big)
        except struct.error:
            return
        yield Page(len(seen) - 1, big_endian, tags)
        offset = offset_of_next


def _directory(data: bytes, offset: int, order: str, big: bool) -> tuple[dict[int, Value], int]:
    """A directory's known tags, and where the next one is.

    Raises:
        struct.error: It is not within the file.
    """
    entry, word = (order + "HHQ8s", "Q") if big else (order + "HHI4s", "I")
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    start, size = offset + (8 if big else 2), struct.calcsize(entry)
    tags: dict[int, Value] = {}
    for number in range(min(count, _MOST_TAGS)):
        tag, type_, values, inline = struct.unpack_from(entry, data, start + number * size)
        if tag in _KNOWN and type_ in _FORMATS and 0 < values <= _MOST_VALUES:
            unpacked = order + str(values) + _FORMATS[type_].replace("c", "s")
            fits = struct.calcsize(unpacked) <= len(inline)
            place = start + number * size + size - len(inline) if fits else struct.unpack(order + word, inline)[0]
            if place + struct.calcsize(unpacked) <= len(data):
                found = struct.unpack_from(unpacked, data, place)
                tags.setdefault(tag, found[0] if type_ in (2, 7) else found)
    end = start + count * size
    following = data[end : end + struct.calcsize(order + word)]
    return tags, struct.unpack(order + word, following)[0] if len(following) == struct.calcsize(order + word) else 0
