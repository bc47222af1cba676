"""Numbers of any type to bytes: which range becomes 0 to 255. It knows no files and no bands.

One range counts for all bands that are shown, so that colours keep their balance:

* 8-bit data are taken as they are, unless the user names a range.
* 16-bit unsigned integers are taken for 8, 10, 12, 14 or 16 bits deep: for the first that holds the largest value. So
  the images of a 12-bit camera in 16-bit files are not black. Where a file gives another depth, that counts.
* Signed and 32-bit integers and floats have no agreed range: the image's least value becomes 0, its largest 255. A
  constant image becomes mid-grey.
* What has no data (`nodata`, NaN, infinity) is left out of the range, and becomes 0 where a range is applied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_batch.records import PixelNote, UInt8Array

Scale: TypeAlias = str | tuple[float, float]
Samples: TypeAlias = NDArray[Any]

_DEPTHS: Final = (8, 10, 12, 14, 16)  # of cameras and sensors
_PERCENTILES: Final = (2, 98)
_MOST_SAMPLES: Final = 1 << 20  # that percentiles of wide types are taken from
_BLOCK: Final = 1 << 20  # samples computed with at once, as float64


@dataclass(frozen=True, slots=True)
class Kind:
    """What samples are beside their type.

    Attributes:
        bits: How many of an unsigned integer's are used, where the file says so.
        nodata: The value that stands for no data.
        min_is_white: Whether the lowest value is the lightest.
    """

    bits: int | None = None
    nodata: float | None = None
    min_is_white: bool = False


def to_bytes(samples_HWC: Samples, kind: Kind, scale: Scale) -> tuple[UInt8Array, set[PixelNote]]:
    """Scale samples to 0 to 255.

    Args:
        samples_HWC: (H, W, C) integers or floats; every band in it is shown.
        kind: What they are beside their type.
        scale: As `input.scale`.

    Returns:
        (H, W, C) uint8, which is the samples themselves where nothing is to be done; and what was lost.
    """
    full = full_range(samples_HWC.dtype, kind.bits)
    notes = {PixelNote.DEPTH_REDUCED} if samples_HWC.dtype.itemsize > 1 else set()
    if samples_HWC.dtype == np.uint8 and scale in ("auto", "full") and full[1] == 255:
        return (255 - samples_HWC if kind.min_is_white else samples_HWC), notes
    low, high = _range(samples_HWC, kind, scale, full)
    if (low, high) != full:
        notes.add(PixelNote.RANGE_STRETCHED)
    bytes_HWC, filled = _mapped(samples_HWC, kind, low, high)
    return bytes_HWC, notes | ({PixelNote.NODATA_FILLED} if filled else set())


def full_range(dtype: np.dtype[Any], bits: int | None = None) -> tuple[float, float]:
    """The range of a type: of integers all they can hold, of floats 0 to 1."""
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype.kind == "u" and bits is not None:
        return 0, 2**bits - 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _range(samples_HWC: Samples, kind: Kind, scale: Scale, full: tuple[float, float]) -> tuple[float, float]:
    """What becomes 0 and what becomes 255."""
    if not isinstance(scale, str):
        return scale
    small = samples_HWC.dtype.kind == "u" and samples_HWC.dtype.itemsize <= 2
    if scale == "full" or (scale == "auto" and small and kind.bits is not None):
        return full
    if scale == "percentile":
        return _percentiles(samples_HWC, kind.nodata)
    low, high = _extremes(samples_HWC, kind.nodata)
    if scale == "auto" and small:
        return 0, next(2**bits - 1 for bits in _DEPTHS if high < 2**bits)
    return low, high


def _extremes(samples_HWC: Samples, nodata: float | None) -> tuple[float, float]:
    """The least and the largest value that are data; (0, 0) where none are."""
    lowest, highest = [], []
    for block in _blocks(samples_HWC):
        data = block[_has_data(block, nodata)]
        if data.size:
            lowest.append(data.min().item())
            highest.append(data.max().item())
    return (min(lowest), max(highest)) if lowest else (0, 0)


def _percentiles(samples_HWC: Samples, nodata: float | None) -> tuple[float, float]:
    """Of as many samples as are quickly sorted, taken evenly over the image."""
    height, width, bands = samples_HWC.shape
    step = max(1, int(np.ceil(np.sqrt(height * width * bands / _MOST_SAMPLES))))
    some = samples_HWC[::step, ::step]
    data = some[_has_data(some, nodata)]
    if not data.size:
        return 0, 0
    low, high = np.percentile(data.astype(np.float64), _PERCENTILES)
    return float(low), float(high)


def _mapped(samples_HWC: Samples, kind: Kind, low: float, high: float) -> tuple[UInt8Array, bool]:
    """Map low to 0 and high to 255, and say whether there were samples without data, which become 0."""
    if samples_HWC.dtype.kind in "ui" and samples_HWC.dtype.itemsize <= 2:
        return _looked_up(samples_HWC, kind, low, high)
    bytes_HWC = np.empty(samples_HWC.shape, np.uint8)
    filled = False
    for block, out in zip(_blocks(samples_HWC), _blocks(bytes_HWC), strict=True):
        out[:], has_data = _scaled(block, kind, low, high)
        filled |= not has_data.all()
    return bytes_HWC, filled


def _looked_up(samples_HWC: Samples, kind: Kind, low: float, high: float) -> tuple[UInt8Array, bool]:
    """`_mapped` by a table of all values that the type has."""
    values = np.arange(1 << 8 * samples_HWC.dtype.itemsize).astype(samples_HWC.dtype.newbyteorder("="))
    table, has_data = _scaled(values, kind, low, high)
    index_HWC = samples_HWC.astype(values.dtype, copy=False).view(f"u{values.itemsize}")
    return table[index_HWC], not has_data.all() and not has_data[index_HWC].all()


def _scaled(values: Samples, kind: Kind, low: float, high: float) -> tuple[UInt8Array, NDArray[np.bool_]]:
    has_data = _has_data(values, kind.nodata)
    halves = np.where(has_data, values, 0).astype(np.float64) / 2  # two halves of any finite range have a difference
    low, high = low / 2, high / 2
    unit = np.clip((halves - low) / (high - low), 0, 1) if high > low else np.full_like(halves, 0.5)
    bytes_ = np.rint((1 - unit if kind.min_is_white else unit) * 255).astype(np.uint8)
    return np.where(has_data, bytes_, np.uint8(0)), has_data


def _has_data(values: Samples, nodata: float | None) -> NDArray[np.bool_]:
    has_data = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
    if nodata is not None and np.isfinite(nodata):
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):  # a value that the type cannot hold is nowhere
                has_data &= values != values.dtype.type(nodata)
        elif float(nodata).is_integer() and np.iinfo(values.dtype).min <= nodata <= np.iinfo(values.dtype).max:
            has_data &= values != int(nodata)
    return has_data


def _blocks(samples_HWC: Samples) -> Iterator[Samples]:
    """Runs of whole rows, each of a bounded number of samples unless one row has more."""
    rows = max(1, _BLOCK // max(1, samples_HWC[0].size))
    return (samples_HWC[start : start + rows] for start in range(0, len(samples_HWC), rows))
