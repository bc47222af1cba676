"""What Pillow reads: it decodes, and this module asks it for the samples as they are stored.

Only its readers for the formats named here are ever called, never `Image.open`, which would try others and enforces a
process-wide pixel limit beside the caller's.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sam_batch.data.bands import Bands
from sam_batch.data.readers import jpeg, png, two_bytes
from sam_batch.data.readers.bare import Bare
from sam_batch.data.readers.errors import READ_ERRORS
from sam_batch.data.readers.opened import Loaded, Opened, check_size, pick
from sam_batch.data.scaling import Kind, Samples
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind, PixelNote

_READERS: Final[dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "AVIF": AvifImageFile,
}
_MEANINGS: Final = {
    "L": Bands(1, (1,)),
    "LA": Bands(2, (1,), 2),
    "RGB": Bands(3, (1, 2, 3)),
    "RGBA": Bands(4, (1, 2, 3), 4),
}
_WIDE_GREY: Final = ("I;16", "I;16B", "I", "F")
_HIGH_BIT_DEPTH: Final = re.compile(rb"av1C..[\x40-\x7f\xc0-\xff]", re.DOTALL)  # AV1's configuration: 10 or 12 bits
_PILLOW_IS_QUIET: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def open_image(name: str, data: bytes, max_pixels: int, frame: int = 0) -> Opened:
    """Read an image's header.

    Args:
        name: Its format, one of `formats.READ`.
        data: The whole file.
        max_pixels: An image with more is refused.
        frame: Which of a TIFF's pages.

    Raises:
        ImageError: Of kind too_many_pixels or unsupported_format.
        READ_ERRORS: The file is damaged, or Pillow does not know what it holds.
    """
    ignore_warnings()
    bare = {"PNG": png.bare, "JPEG": jpeg.bare}.get(name, Bare)(data)
    opener = partial(_open, name, bare.data, frame)
    image = opener()
    check_size(image.width, image.height, max_pixels)
    count = image.width * image.height
    load: Callable[[], Samples]
    if two_bytes.holds(image):
        kind, load = Kind(), partial(two_bytes.load, image, opener)
        meaning = _MEANINGS[image.mode]
    elif image.mode in _WIDE_GREY:
        kind, load = Kind(bits=12 if two_bytes.raw_mode(image) == "I;12" else None), partial(_load_stored, image)
        meaning = _MEANINGS["L"]
    else:
        mode = _shown_mode(image)
        load_shown = partial(_load, image, partial(_load_shown, image, mode), bare, name)
        return Opened(_MEANINGS[mode], Kind(), load_shown, count)
    if "transparency" in image.info:  # one colour is transparent: an alpha band behind the others
        meaning = Bands(meaning.count + 1, meaning.colour, meaning.count + 1)
    return Opened(meaning, kind, partial(_load, image, partial(_with_key, image, load), bare, name), count)


def _open(name: str, data: bytes, frame: int) -> ImageFile.ImageFile:
    reader = _heif_reader() if name == "HEIC" else _READERS[name]
    image = reader(io.BytesIO(data))
    if frame:
        image.seek(frame)
    if not isinstance(image.info.get("xmp", b""), bytes):  # Pillow looks for the orientation in it
        del image.info["xmp"]
    return image


def _heif_reader() -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        message = "it is read with the extra heif: pip install 'sam-batch[heif]'"
        raise ImageError(FailureKind.UNSUPPORTED_FORMAT, message) from None
    return HeifImageFile


def ignore_warnings() -> None:
    """Keep Pillow's remarks on damaged metadata off the user's screen, and from becoming errors.

    `warnings.catch_warnings` would not do: it is not thread-safe. This filter stays, in front, and is added once.
    """
    if list(warnings.filters[:1]) != [_PILLOW_IS_QUIET]:
        warnings.filterwarnings("ignore", module=_PILLOW_IS_QUIET[3].pattern)


def _shown_mode(image: Image.Image) -> str:
    """What Pillow converts 8-bit samples to: palettes, CMYK, Lab and YCbCr become RGB in its way."""
    if image.mode in ("LA", "La"):
        return "LA"
    if image.has_transparency_data:
        return "RGBA"
    return "L" if image.mode in ("1", "L") else "RGB"


def _load_shown(image: ImageFile.ImageFile, mode: str) -> Samples:
    image.load()
    samples = np.asarray(image if image.mode == mode else image.convert(mode))
    return samples.reshape(*samples.shape[:2], -1)


def _load_stored(image: ImageFile.ImageFile) -> Samples:
    image.load()
    return np.asarray(image)[..., np.newaxis]


def _with_key(image: ImageFile.ImageFile, load: Callable[[], Samples]) -> Samples:
    samples_HWC = load()
    if "transparency" not in image.info:
        return samples_HWC
    opaque_HW1 = np.any(samples_HWC != np.asarray(image.info["transparency"]), axis=2, keepdims=True)
    return np.concatenate([samples_HWC, opaque_HW1 * np.uint16(0xFFFF)], axis=2)


def _load(
    image: ImageFile.ImageFile, load: Callable[[], Samples], bare: Bare, name: str, numbers: Sequence[int]
) -> Loaded:
    stored_mode = image.mode
    samples_HWC = load()
    profile = bare.profile or image.info.get("icc_profile")
    lost = {
        PixelNote.PAGES_DROPPED: bare.has_more or _has_more_pictures(image, name),
        PixelNote.DEPTH_REDUCED: _had_more_bits(image, name, bare.data),
        PixelNote.COLOURS_CONVERTED: stored_mode in ("CMYK", "LAB"),
        PixelNote.PROFILE_IGNORED: is_another_space(profile),
    }
    notes = frozenset(note for note, applies in lost.items() if applies)
    return Loaded(pick(samples_HWC, numbers), _orientation(image), notes)


def _has_more_pictures(image: ImageFile.ImageFile, name: str) -> bool:
    """Whether an animation or a container does; a TIFF's pages are counted by its directories."""
    try:
        return name != "TIFF" and bool(getattr(image, "is_animated", False))
    except READ_ERRORS:  # a damaged second frame
        return True


def _had_more_bits(image: ImageFile.ImageFile, name: str, data: bytes) -> bool:
    if name == "HEIC":
        return int(image.info.get("bit_depth", 8)) > 8
    return name == "AVIF" and _HIGH_BIT_DEPTH.search(data) is not None


def is_another_space(profile: object) -> bool:
    """Whether there is an ICC profile, and it does not say of itself that its colours are sRGB's."""
    return isinstance(profile, bytes) and profile != b"" and b"sRGB" not in profile.replace(b"\0", b"")


def _orientation(image: Image.Image) -> int:
    """Read EXIF's orientation of a loaded image; 1 (as stored) where the metadata is damaged.

    A TIFF's is 1 here: Pillow applies it while loading.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except READ_ERRORS:
        return 1
