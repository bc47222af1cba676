"""What readers raise on files they cannot read, translated to a kind of failure in one place."""

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from PIL import Image

from sam_batch.data.readers import tiff_page
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

# What Pillow's readers and tifffile's codecs raise on damaged files, as fuzzing shows.
READ_ERRORS: Final = (
    OSError,
    ValueError,
    RuntimeError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    struct.error,
    zlib.error,
)
_NOT_READ: Final = re.compile(r"cannot handle|unsupported|not (yet )?supported", re.IGNORECASE)


@contextlib.contextmanager
def translated(name: str, data: bytes) -> Iterator[None]:
    """Turn what a reader raises into an ImageError.

    Args:
        name: The format.
        data: The whole file.

    Raises:
        ImageError: Of kind truncated, corrupt, too_many_pixels, out_of_memory, unsupported_samples or
            unsupported_compression; or as it was raised inside, with the format's name in front.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(error.kind, f"{name}: {error}") from None
    except MemoryError:
        raise ImageError(FailureKind.OUT_OF_MEMORY, f"{name}: not enough memory to decode it") from None
    except Image.DecompressionBombError as error:  # a frame or a tile larger than the header said
        raise ImageError(FailureKind.TOO_MANY_PIXELS, f"{name}: {one_line(error)}") from error
    except READ_ERRORS as error:
        raise ImageError(_kind(name, data, error), f"{name}: {one_line(error)}") from error


def _kind(name: str, data: bytes, error: BaseException) -> FailureKind:
    if _NOT_READ.search(str(error)):
        compression = "compression" in str(error)
        return FailureKind.UNSUPPORTED_COMPRESSION if compression else FailureKind.UNSUPPORTED_SAMPLES
    return FailureKind.TRUNCATED if _cut_short(name, data, error) else FailureKind.CORRUPT


def _cut_short(name: str, data: bytes, error: BaseException) -> bool:
    """Whether the end of the file is missing, by what the reader says or by the format's own end mark."""
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return True
    match name:
        case "JPEG":
            return not data.rstrip(b"\0").endswith(b"\xff\xd9")
        case "PNG":
            return b"IEND" not in data
        case "GIF":
            return not data.rstrip(b"\0").endswith(b";")
        case "WebP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "BMP":
            return int.from_bytes(data[2:6], "little") > len(data)
        case "AVIF" | "HEIC":
            return _last_box_is_cut(data)
        case _:
            return tiff_page.ends_early(data)


def _last_box_is_cut(data: bytes) -> bool:
    """Whether the boxes of an ISO file go on behind its end."""
    start = 0
    while 0 <= start <= len(data) - 8:
        size, tag = struct.unpack_from(">I4s", data, start)
        if size == 1:
            size = int.from_bytes(data[start + 8 : start + 16].ljust(8, b"\xff"), "big")
        if size < 8 or not tag.isalnum():
            return False  # size 0: up to the end
        start += size
    return start != len(data)


def one_line(error: BaseException) -> str:
    """An error's text without what differs between two runs (addresses), on one short line."""
    text = re.sub(r" object at 0x[0-9a-f]+", "", str(error))
    return " ".join(text.split())[:200] or type(error).__name__
