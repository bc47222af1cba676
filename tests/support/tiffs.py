"""TIFF and GeoTIFF files as GDAL and tifffile write them."""

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator

import numpy as np
import rasterio
import tifffile
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

GEO = {"crs": "EPSG:32610", "transform": Affine(1, 0, 500_000, 0, -1, 4_000_000)}


@contextlib.contextmanager
def gdal(data: bytes | None = None) -> Iterator[MemoryFile]:
    """A file in GDAL's memory, without rasterio's remarks on it."""
    with warnings.catch_warnings(), MemoryFile(data) as memory, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of affine, by rasterio 1.4
        yield memory


def geotiff(
    bands_CHW: np.ndarray,
    colours: list[ColorInterp] | None = None,
    mask_HW: np.ndarray | None = None,
    overviews: bool = False,
    tags: dict[str, str] | None = None,
    **options,
) -> bytes:
    """A file as GDAL writes it; georeferenced unless `crs=None` is given."""
    count, height, width = bands_CHW.shape
    profile = {**GEO, "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands_CHW.dtype}
    profile |= {"transform": None} if options.get("crs", GEO) is None else {}
    with gdal() as memory:
        with memory.open(**profile | options) as file:
            file.colorinterp = colours or file.colorinterp
            file.write(bands_CHW)
            file.update_tags(**tags or {})
            if mask_HW is not None:
                file.write_mask(mask_HW)
            if overviews:
                file.build_overviews([2, 4])
        return memory.read()


def by_gdal(data: bytes) -> np.ndarray:
    """(H, W, C) as GDAL reads it."""
    with gdal(data) as memory, memory.open() as file:
        return np.moveaxis(file.read(), 0, 2)


def tiff(samples: np.ndarray, **options) -> bytes:
    """A file as tifffile writes it."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def by_tifffile(data: bytes, page: int = 0) -> np.ndarray:
    """A page as tifffile reads it."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.pages[page].asarray()


def with_tag(data: bytes, tag: int, type_: str, values: list[int]) -> bytes:
    """A classic little-endian TIFF with another value in a tag of its first directory that fits into four bytes."""
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    for start in range(offset + 2, offset + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, start)[0] == tag:
            code = {"B": 1, "H": 3, "I": 4}[type_]
            entry = struct.pack(f"<HHI{len(values)}{type_}", tag, code, len(values), *values).ljust(12, b"\0")
            return data[:start] + entry + data[start + 12 :]
    raise LookupError(f"no tag {tag}")
