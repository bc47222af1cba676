"""A kind of image file, the rules of docs/pixels.md in a few words of NumPy, and other libraries to read files with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import imagecodecs
import numpy as np
from PIL import Image

from sam_batch.records import FailureKind as F
from sam_batch.records import PixelNote as N
from support.corpus import encode, picture
from support.tiffs import gdal, geotiff, tiff

Pixels = np.ndarray
DEEP, STRETCHED, NODATA, BANDS, ALPHA, PAGES = (
    N.DEPTH_REDUCED,
    N.RANGE_STRETCHED,
    N.NODATA_FILLED,
    N.BANDS_DROPPED,
    N.ALPHA_FLATTENED,
    N.PAGES_DROPPED,
)
HIGH = (DEEP, STRETCHED)


@dataclass(frozen=True)
class Kind:
    """A file and what becomes of it.

    Attributes:
        name: What the file is.
        data: Its bytes.
        becomes: In words; of a failure, the words that its message holds.
        expected: (H, W, 3) or (H, W, 1) by another reader and the rule; None of a file that fails.
        reader: Who that reader is.
        notes: The row's notes.
        failure: The row's kind of failure.
        settings: Of `input`, where they are not the defaults.
        tolerance: By how much a pixel may differ where decoders round differently.
        needs: A package that writes it.
    """

    name: str
    data: Callable[[], bytes]
    becomes: str
    expected: Callable[[bytes], Pixels] | None = None
    reader: str = ""
    notes: tuple[N, ...] = ()
    failure: F | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    tolerance: int = 0
    needs: str = "numpy"


def scaled(samples: Pixels, low: float, high: float) -> Pixels:
    return np.rint(np.clip((samples.astype(np.float64) - low) / (high - low), 0, 1) * 255)


def own_range(samples: Pixels, nodata: float = np.nan) -> Pixels:
    """The range of what has data; the rest is 0."""
    samples = samples.astype(np.float64)
    has_data = np.isfinite(samples) & (samples != nodata)
    low, high = samples[has_data].min(), samples[has_data].max()
    return np.where(has_data, scaled(np.where(has_data, samples, low), low, high), 0)


def on_white(rgba: Pixels, top: int = 255) -> Pixels:
    colour, alpha = scaled(rgba[..., :-1], 0, top), rgba[..., -1:] / top
    return colour * alpha + 255 * (1 - alpha)


def by_opencv(data: bytes) -> Pixels:
    """(H, W, C) in the order RGB(A), as it is stored."""
    stored = np.atleast_3d(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    return stored[..., [2, 1, 0, 3][: stored.shape[2]]] if stored.shape[2] > 1 else stored


def by_imagecodecs(data: bytes) -> Pixels:
    """An AVIF."""
    return imagecodecs.avif_decode(data)


def upright(data: bytes) -> Pixels:
    """8-bit RGB by OpenCV, turned as the file says."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def coloured(data: bytes) -> Pixels:
    """A palette's colours by GDAL."""
    with gdal(data) as memory, memory.open() as file:
        colours = file.colormap(1)
        return np.array([colours[index][:3] for index in file.read(1).ravel()]).reshape(file.height, file.width, 3)


P = picture()
IMAGE = Image.fromarray(P)
GREY = np.asarray(IMAGE.convert("L"))
HALF = np.dstack([P, np.linspace(0, 255, P[..., 0].size).reshape(P.shape[:2])]).astype(np.uint8)
CHW = np.moveaxis(P, 2, 0)
MANY = np.random.default_rng(0).integers(0, 60_000, (13, *P.shape[:2])).astype(np.uint16)
FOUR = np.random.default_rng(1).integers(0, 256, (4, *P.shape[:2])).astype(np.uint8)
TWELVE = (MANY % 4096).astype(np.uint16)
LAND = np.linspace(100, 900, P[..., 0].size).reshape(1, *P.shape[:2])
HOLES = np.where(GREY[None] > 128, LAND, -9999)


def stored(*arguments: Any, **options: Any) -> Callable[[], bytes]:
    return lambda: encode(*arguments, **options)


def gdal_made(bands: Pixels, *arguments: Any, **options: Any) -> Callable[[], bytes]:
    return lambda: geotiff(bands, *arguments, **options)


def tifffile_made(samples: Pixels, **options: Any) -> Callable[[], bytes]:
    return lambda: tiff(samples, **{"metadata": None, **options})


def avif(samples: Pixels, **options: Any) -> Callable[[], bytes]:
    return lambda: imagecodecs.avif_encode(samples, **options)


def read(
    name: str,
    data: Callable[[], bytes],
    becomes: str,
    reader: Callable[[bytes], Pixels],
    rule: Callable[[Pixels], Pixels] = lambda samples: samples,
    notes: tuple[N, ...] = (),
    tolerance: int = 0,
    **settings: Any,
) -> Kind:
    names = {
        "by_gdal": "GDAL",
        "coloured": "GDAL",
        "by_tifffile": "tifffile",
        "by_imagecodecs": "imagecodecs",
        "by_opencv": "OpenCV",
        "upright": "OpenCV",
    }
    other = names.get(reader.__name__, "as drawn")
    return Kind(name, data, becomes, lambda file: rule(reader(file)), other, notes, None, settings, tolerance)


def refused(name: str, data: bytes | Callable[[], bytes], kind: F, words: str, **settings: Any) -> Kind:
    return Kind(name, data if callable(data) else lambda: data, words, failure=kind, settings=settings)


def drawn(samples: Pixels) -> Callable[[bytes], Pixels]:
    def as_drawn(_: bytes) -> Pixels:
        return samples

    return as_drawn


def first(count: int) -> Callable[[Pixels], Pixels]:
    return lambda samples: samples[..., :count]


def only(*numbers: int) -> Callable[[Pixels], Pixels]:
    return lambda samples: samples[..., [number - 1 for number in numbers]]


def deep(top: int, count: int = 3) -> Callable[[Pixels], Pixels]:
    return lambda samples: scaled(samples[..., :count], 0, top)
