"""Where on the ground a GeoTIFF's pixels lie, of its own tags: OGC's GeoTIFF 1.1, http://docs.opengeospatial.org/is/19-008r4.

It decodes no pixels and projects nothing: coordinates stay in the file's own reference system.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_batch.data.readers.formats import format_of
from sam_batch.data.readers.tiff_page import ORIENTATION, Page, first_page

_SCALE, _TIE_POINT, _TRANSFORM, _KEYS = 33550, 33922, 34264, 34735
_MODEL_TYPE, _RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1024, 1025, 2048, 3072  # GeoKeys
_IS_PROJECTED, _PIXEL_IS_POINT, _USER_DEFINED = 1, 2, 32767


@dataclass(frozen=True, slots=True)
class GroundFrame:
    """The reference system of a picture, and the way there from its pixels.

    Attributes:
        matrix_23: (2, 3) float64; times (x, y, 1), of pixels' corners from 0, it is (easting, northing).
        epsg: The reference system's number.
    """

    matrix_23: NDArray[np.float64]
    epsg: int

    def of_corners(self, corners_n2: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) float64 coordinates of (n, 2) corners of pixels."""
        return corners_n2 @ self.matrix_23[:, :2].T + self.matrix_23[:, 2]


def ground_frame(data: bytes) -> GroundFrame:
    """Where a picture lies.

    Raises:
        ValueError: It does not say, or not in a way that is known; says why.
        ImageError: It is a damaged TIFF.
    """
    if format_of(data) != "TIFF":
        raise ValueError("is no GeoTIFF")
    page = first_page(data)
    if page.number(ORIENTATION, 1) != 1:
        raise ValueError("is a TIFF with an orientation, which says nothing of the ground")
    keys = _geo_keys(page)
    matrix_23 = _matrix(page)
    if keys.get(_RASTER_TYPE) == _PIXEL_IS_POINT:  # then the tags speak of pixels' centres
        matrix_23[:, 2] -= matrix_23[:, :2].sum(axis=1) / 2
    epsg = keys.get(_PROJECTED if keys.get(_MODEL_TYPE) == _IS_PROJECTED else _GEOGRAPHIC, 0)
    if epsg in (0, _USER_DEFINED):
        raise ValueError("names no reference system by its EPSG number")
    return GroundFrame(matrix_23, epsg)


def _matrix(page: Page) -> NDArray[np.float64]:
    transform, scale, tie = (_floats(page, tag) for tag in (_TRANSFORM, _SCALE, _TIE_POINT))
    if len(transform) == 16:
        return transform.reshape(4, 4)[:2][:, [0, 1, 3]].copy()
    if len(scale) < 2 or len(tie) != 6 or not scale[:2].all():
        raise ValueError("has no geotransform")
    x, y, _, easting, northing, _ = tie
    return np.array([[scale[0], 0, easting - x * scale[0]], [0, -scale[1], northing + y * scale[1]]])


def _floats(page: Page, tag: int) -> NDArray[np.float64]:
    value = page.tags.get(tag, ())
    return np.array([] if isinstance(value, bytes) else value, np.float64)


def _geo_keys(page: Page) -> dict[int, int]:
    """The GeoKeys whose values are numbers of 16 bits: a head of four, then key, place (0: here), count, value."""
    numbers = _floats(page, _KEYS).astype(int)
    entries = numbers[4 : len(numbers) // 4 * 4].reshape(-1, 4).tolist()
    return {key: value for key, place, _, value in entries if place == 0}
