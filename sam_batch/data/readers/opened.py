"""What every reader hands out: an image whose header was read, and the way to its samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sam_batch.data.bands import Bands
from sam_batch.data.scaling import Kind, Samples
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind, PixelNote


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image's samples.

    Attributes:
        samples_HWC: (H, W, C) numbers as stored; possibly read-only, possibly a view.
        orientation: EXIF's, 1 to 8, that is still to be applied.
        notes: What was lost by reading it.
    """

    samples_HWC: Samples
    orientation: int
    notes: frozenset[PixelNote]


Load: TypeAlias = Callable[[Sequence[int]], Loaded]


@dataclass(frozen=True, slots=True)
class Opened:
    """An image of which nothing was decoded yet.

    Attributes:
        bands: What its bands mean.
        kind: What its samples are beside their type.
        load: Decodes the bands of the given numbers (from 1), in that order. To be called once.
        pixels: In one band, as the header says.
    """

    bands: Bands
    kind: Kind
    load: Load
    pixels: int


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image by the size in its header.

    Raises:
        ImageError: Of kind too_many_pixels.
    """
    if width * height > max_pixels:
        message = f"{width} x {height} pixels; at most {max_pixels} pixels are allowed"
        raise ImageError(FailureKind.TOO_MANY_PIXELS, message)


def pick(samples_HWC: Samples, numbers: Sequence[int]) -> Samples:
    """The bands of the given numbers (from 1), without a copy where they stand in a row."""
    first = numbers[0]
    if list(numbers) == list(range(first, first + len(numbers))):
        return samples_HWC[..., first - 1 : first - 1 + len(numbers)]
    return samples_HWC[..., [number - 1 for number in numbers]]
