"""Where pixels lie is what GDAL says."""

import numpy as np
import pytest
from affine import Affine
from support.tiffs import gdal, geotiff, tiff

from sam_batch.data.readers.tiff_geo import ground_frame

BANDS = np.zeros((3, 4, 6), np.uint8)
CORNERS = np.array([[0.0, 0.0], [6.0, 0.0], [2.0, 4.0]])
NORTH_UP, ROTATED = Affine(0.5, 0, 500_000, 0, -0.25, 4_000_000), Affine(0.3, 0.4, 10, 0.4, -0.3, 50)


@pytest.mark.parametrize("epsg", [32610, 4326, 3857])
@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north up", "rotated"])
@pytest.mark.parametrize("point", ["AREA", "POINT"])
def test_a_corner_lies_where_gdal_says(epsg, transform, point):
    data = geotiff(BANDS, crs=f"EPSG:{epsg}", transform=transform, tags={"AREA_OR_POINT": point})
    frame = ground_frame(data)
    assert frame.epsg == epsg
    with gdal(data) as memory, memory.open() as opened:
        assert frame.of_corners(CORNERS) == pytest.approx(np.array([opened.transform @ tuple(one) for one in CORNERS]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n", "is no GeoTIFF"),
        (tiff(BANDS[0]), "has no geotransform"),
        (geotiff(BANDS, crs=None), "has no geotransform"),
        (geotiff(BANDS, crs="+proj=laea +lat_0=10 +lon_0=20"), "names no reference system by its EPSG number"),
        (tiff(BANDS[0], extratags=[(274, "H", 1, 6, True)]), "has an orientation|with an orientation"),
    ],
    ids=["PNG", "TIFF", "no place", "a system of its own", "turned"],
)
def test_what_says_not_where_it_lies_is_refused(data, said):
    with pytest.raises(ValueError, match=said):
        ground_frame(data)
