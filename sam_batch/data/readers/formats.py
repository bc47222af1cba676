"""What a file is, by its first bytes: never by its name, and without decoding anything."""

import re
from importlib.util import find_spec
from typing import Final

from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

READ: Final = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "AVIF", "HEIC")

_EXTRAS: Final = {"heic": ("pi_heif", "heif"), "heif": ("pi_heif", "heif")}  # by extension: package, extra
# The first that matches counts. Names outside `READ` are refused by that name.
_SIGNATURES: Final = (
    ("JPEG", rb"\xff\xd8"),
    ("PNG", rb"\x89PNG"),
    ("WebP", rb"RIFF....WEBP"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("BMP", rb"BM"),
    ("GIF", rb"GIF8[79]a"),
    # A container's first brand may say no more than "a still image"; then the brands behind it count.
    ("AVIF", rb"....ftyp(avi[fs]|(mif1|msf1|miaf)....((?!hei|hev)....){0,8}avi[fs])"),
    ("HEIC", rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1|miaf)"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("JPEG XR", rb"II\xbc"),
    ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("PDF", rb"%PDF"),
    ("Photoshop", rb"8BPS"),
    ("GIMP", rb"gimp xcf"),
    ("PNM", rb"P[1-7fF]\s"),
    ("ICO", rb"\0\0[\1\2]\0[^\0]\0"),
    ("FITS", rb"SIMPLE  ="),
    ("WMF", rb"\xd7\xcd\xc6\x9a"),
    ("OpenEXR", rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", rb"#\?(RADIANCE|RGBE)"),
    ("DDS", rb"DDS "),
    ("QOI", rb"qoif"),
    ("DPX", rb"SDPX|XPDS"),
    ("Canon raw", rb"....ftypcrx "),
    ("Fujifilm raw", rb"FUJIFILMCCD-RAW"),
    ("Olympus raw", rb"IIR[OS]|MMOR"),
    ("Panasonic raw", rb"IIU\0"),
    ("DICOM", rb".{128}DICM"),
    ("NIfTI", rb".{344}n[i+]1\0"),
    ("NRRD", rb"NRRD000"),
    ("Zeiss CZI", rb"ZISRAWFILE"),
    ("Nikon ND2", rb"\xda\xce\xbe\x0a"),
    ("HDF5 (or NetCDF, Imaris)", rb"\x89HDF\r\n\x1a\n"),
    ("NetCDF", rb"CDF[\1\2\5]"),
)
_HINTS: Final = (
    ("a Git LFS pointer, not the file itself", rb"version https://git-lfs"),
    ("an HTML page", rb"\s*(?i:<(!doctype html|html))"),
    ("XML or SVG", rb"\s*(?i:<(\?xml|svg))"),
    ("JSON", rb'\s*[{\[]\s*["{\[]'),
    ("a video (MP4 or QuickTime)", rb"....(ftyp|moov|mdat|wide|free)"),
    ("a video (AVI)", rb"RIFF....AVI "),
    ("a video (Matroska or WebM)", rb"\x1a\x45\xdf\xa3"),
    ("a sound", rb"RIFF....WAVE|ID3|OggS|fLaC"),
    ("a ZIP archive (or NumPy .npz, Office)", rb"PK\x03\x04"),
    ("a tar archive", rb".{257}ustar"),
    ("compressed data (gzip)", rb"\x1f\x8b"),
    ("compressed data (bzip2)", rb"BZh[1-9]"),
    ("compressed data (xz)", rb"\xfd7zXZ\0"),
    ("compressed data (Zstandard)", rb"\x28\xb5\x2f\xfd"),
    ("a 7z archive", rb"7z\xbc\xaf\x27\x1c"),
    ("a RAR archive", rb"Rar!\x1a\x07"),
    ("a NumPy array (.npy)", rb"\x93NUMPY"),
    ("a Parquet file", rb"PAR1"),
    ("an Arrow file", rb"ARROW1"),
    ("a SQLite database", rb"SQLite format 3\0"),
    ("a Python pickle (or PyTorch weights)", rb"\x80[\2-\5]"),
    ("a program", rb"\x7fELF|MZ"),
    ("zeros only: a hole in a damaged disk or transfer", rb"\0{64}\0*\Z"),
    ("text", rb"[\t\n\r\x20-\x7e]{16}"),
)


def _compiled(table: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, re.Pattern[bytes]], ...]:
    return tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in table)


_SIGNATURE_PATTERNS: Final = _compiled(_SIGNATURES)
_HINT_PATTERNS: Final = _compiled(_HINTS)


def format_of(data: bytes) -> str:
    """Name the format of a file.

    Returns:
        One of `READ`.

    Raises:
        ImageError: Of kind empty_file, not_an_image, or unsupported_format; the message says what the file seems to be.
    """
    if not data:
        raise ImageError(FailureKind.EMPTY_FILE, "the file has no bytes")
    name = _first_match(_SIGNATURE_PATTERNS, data)
    if name is None:
        hint = _first_match(_HINT_PATTERNS, data)
        raise ImageError(FailureKind.NOT_AN_IMAGE, f"not an image; it looks like {hint}" if hint else "not an image")
    if name not in READ:
        raise ImageError(FailureKind.UNSUPPORTED_FORMAT, f"{name} is not supported; use one of {', '.join(READ)}")
    return name


def seems(data: bytes) -> str:
    """What a file that is not read seems to be, in words; empty where nothing is known of it."""
    return _first_match(_SIGNATURE_PATTERNS, data) or _first_match(_HINT_PATTERNS, data) or ""


def extra_for(extension: str) -> str:
    """The extra that has to be installed before files of an extension can be read; empty where there is none."""
    package, extra = _EXTRAS.get(extension, ("", ""))
    return extra if extra and find_spec(package) is None else ""


def _first_match(table: tuple[tuple[str, re.Pattern[bytes]], ...], data: bytes) -> str | None:
    return next((name for name, pattern in table if pattern.match(data)), None)
