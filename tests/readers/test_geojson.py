"""GDAL, by pyogrio, reads the masks on the map, Shapely finds them valid, rasterio fills them to the same pixels."""

import hashlib
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from support.exports import export
from support.readers.cases import CASES
from support.results import result_of
from support.tiffs import GEO, geotiff

pytestmark = [
    pytest.mark.readers,
    pytest.mark.filterwarnings("ignore"),  # of what they import
    pytest.mark.skipif(find_spec("pyogrio") is None, reason="`make test-readers` installs the package"),
]


@pytest.mark.parametrize("photos", CASES.values(), ids=CASES)
def test_every_mask_comes_back(photos, tmp_path):
    import pyogrio
    import shapely
    from rasterio.features import rasterize

    for photo in photos:
        data = geotiff(np.zeros((3, *photo.size), np.uint8))
        (tmp_path / "image.tif").write_bytes(data)
        result = result_of("image.tif", photo.masks, 0, photo.size)
        ref, sha256 = replace(result.ref, uri=str(tmp_path / "image.tif")), hashlib.sha256(data).hexdigest()
        folder = export(tmp_path, "geojson", [replace(result, ref=ref, sha256=sha256)])
        about, _, shapes, columns = pyogrio.raw.read(folder / "image.tif.geojson")
        if photo.masks:
            assert about["crs"] == GEO["crs"]
            assert columns[list(about["fields"]).index("mask_id")].tolist() == list(range(len(photo.masks)))
        for mask_HW, shape in zip(photo.masks, shapely.from_wkb(shapes), strict=True):
            assert shape.is_valid
            filled_HW = rasterize([shape], out_shape=photo.size, transform=GEO["transform"])
            assert np.array_equal(filled_HW.astype(bool), mask_HW)
