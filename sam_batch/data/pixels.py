"""Encoded bytes to RGB pixels: Pillow decides what an image is, this module decides what its pixels mean.

The rules, whatever the file:

* Formats: JPEG (of an MPO the first picture), PNG, WebP, TIFF, BMP, GIF. No other reader of Pillow is ever called.
* The size in the header is checked before anything is decoded.
* Of several frames, pages or pictures, the first one counts.
* The EXIF orientation is applied, once. ICC profiles are not.
* Alpha, also a palette's or a colour key, is laid on white.
* 16-bit grey is scaled by 1/257, the same for every image. 48-bit RGB keeps its high bytes.
* 32-bit integers and floats have no agreed range: the image's minimum becomes 0 and its maximum 255. A constant
  image becomes mid-grey; NaN or infinity makes it corrupt.

It does no input or output, sets no limit on time or memory (the caller's process does) and resizes nothing.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sam_batch.errors import ImageError
from sam_batch.records import FailureKind, UInt8Array

_Reader: TypeAlias = Callable[[io.BytesIO], ImageFile.ImageFile]

# The readers themselves, not `Image.open`: that one enforces a process-wide pixel limit beside the caller's.
_READERS: Final[dict[str, _Reader]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
}
_SIGNATURES: Final[tuple[tuple[str, re.Pattern[bytes]], ...]] = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("JPEG", rb"\xff\xd8"),
        ("PNG", rb"\x89PNG"),
        ("WEBP", rb"RIFF....WEBP"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]"),
        ("BMP", rb"BM"),
        ("GIF", rb"GIF8[79]a"),
        # Known and refused: the message then says what the file is.
        ("AVIF or HEIC", rb"....ftyp(avi|hei|hev|mif|msf)"),
        ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
        ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("PDF", rb"%PDF"),
        ("Photoshop", rb"8BPS"),
        ("PNM", rb"P[1-7fF]\s"),
        ("ICO", rb"\0\0[\1\2]\0[^\0]\0"),
        ("FITS", rb"SIMPLE  ="),
        ("WMF", rb"\xd7\xcd\xc6\x9a"),
        ("OpenEXR", rb"\x76\x2f\x31\x01"),
        ("DDS", rb"DDS "),
    )
)
_HINTS: Final[tuple[tuple[str, re.Pattern[bytes]], ...]] = (
    ("a Git LFS pointer, not the file itself", re.compile(rb"version https://git-lfs")),
    ("an HTML page", re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)),
    ("XML or SVG", re.compile(rb"\s*<(\?xml|svg)", re.IGNORECASE)),
    ("JSON", re.compile(rb'\s*[{\[]\s*["{\[]')),
    ("a ZIP archive", re.compile(rb"PK\x03\x04")),
)

# What Pillow's readers raise on damaged files, as fuzzing shows.
_READ_ERRORS: Final = (
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
_PILLOW_IS_QUIET: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, max_pixels: int) -> UInt8Array:
    """Decode the first frame of an encoded image.

    Args:
        data: The whole file.
        max_pixels: Images with more are refused by their header.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous, orientation applied.

    Raises:
        ImageError: Of kind empty_file, not_an_image, unsupported_format, truncated, corrupt, too_many_pixels or
            out_of_memory. The message is one line and depends on the bytes alone.
    """
    name = _format_of(data)
    _ignore_warnings()
    try:
        with _READERS[name](io.BytesIO(data)) as image:
            _check_size(image, max_pixels)
            image.load()
            return np.array(_oriented(_to_rgb(image), _orientation(image)))
    except MemoryError:
        raise ImageError(FailureKind.OUT_OF_MEMORY, f"{name}: not enough memory to decode it") from None
    except Image.DecompressionBombError as error:  # a frame or a tile larger than the header said
        raise ImageError(FailureKind.TOO_MANY_PIXELS, f"{name}: {_one_line(error)}") from error
    except _READ_ERRORS as error:
        kind = FailureKind.TRUNCATED if _cut_short(name, data, error) else FailureKind.CORRUPT
        raise ImageError(kind, f"{name}: {_one_line(error)}") from error


def _format_of(data: bytes) -> str:
    """Name the format by its first bytes; a name outside `_READERS` raises."""
    if not data:
        raise ImageError(FailureKind.EMPTY_FILE, "the file has no bytes")
    name = next((name for name, signature in _SIGNATURES if signature.match(data)), None)
    if name is None:
        hint = next((f"; it looks like {what}" for what, pattern in _HINTS if pattern.match(data)), "")
        raise ImageError(FailureKind.NOT_AN_IMAGE, f"not an image{hint}")
    if name not in _READERS:
        allowed = ", ".join(_READERS)
        raise ImageError(FailureKind.UNSUPPORTED_FORMAT, f"{name} is not supported; use one of {allowed}")
    return name


def _ignore_warnings() -> None:
    """Keep Pillow's remarks on damaged metadata off the user's screen, and from becoming errors.

    `warnings.catch_warnings` would not do: it is not thread-safe. This filter stays, in front, and is added once.
    """
    if list(warnings.filters[:1]) != [_PILLOW_IS_QUIET]:
        warnings.filterwarnings("ignore", module=_PILLOW_IS_QUIET[3].pattern)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        message = f"{width} x {height} pixels; at most {max_pixels} pixels are allowed"
        raise ImageError(FailureKind.TOO_MANY_PIXELS, message)


def _orientation(image: Image.Image) -> int:
    """Read EXIF's orientation of a loaded image; 1 (as stored) where the metadata is damaged.

    A TIFF's is 1 here: Pillow applies it while loading.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _READ_ERRORS:
        return 1


def _oriented(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return _grey16(image).convert("RGB")
    if image.mode in ("I", "F"):
        return _stretched(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _grey16(image: Image.Image) -> Image.Image:
    """Scale 0 to 65535 to 0 to 255, rounded: 65535 / 257 is 255."""
    grey_HW = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((grey_HW + 128) // 257).astype(np.uint8))


def _stretched(image: Image.Image) -> Image.Image:
    """Map the image's own range to 0 to 255."""
    stored_HW = np.asarray(image)
    if not np.isfinite(stored_HW).all():
        raise ValueError("pixels that are NaN or infinite")
    values_HW: NDArray[np.float64] = stored_HW.astype(np.float64)
    low, high = values_HW.min(), values_HW.max()
    unit_HW = (values_HW - low) / (high - low) if high > low else np.full_like(values_HW, 0.5)
    return Image.fromarray(np.rint(unit_HW * 255).astype(np.uint8))


def _cut_short(name: str, data: bytes, error: BaseException) -> bool:
    """Whether the end of the file is missing, by what Pillow says or by the format's own end mark."""
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return True
    match name:
        case "JPEG":
            return not data.rstrip(b"\0").endswith(b"\xff\xd9")
        case "PNG":
            return b"IEND" not in data
        case "GIF":
            return not data.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "BMP":
            return int.from_bytes(data[2:6], "little") > len(data)
        case _:  # TIFF: where the first directory should be
            offset = struct.unpack_from("<I" if data.startswith(b"II") else ">I", data.ljust(8, b"\0"), 4)[0]
            return bool(offset >= len(data))


def _one_line(error: BaseException) -> str:
    """An error's text without what differs between two runs (addresses), on one short line."""
    text = re.sub(r" object at 0x[0-9a-f]+", "", str(error))
    return " ".join(text.split())[:200] or type(error).__name__
