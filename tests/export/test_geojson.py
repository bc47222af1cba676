"""Polygons on the map give the mask back where rasterio fills them through the image's geotransform."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.features import rasterize
from support.exports import export, written
from support.results import random_masks, result_of
from support.tiffs import geotiff

from sam_batch.errors import JobError

NORTH_UP = Affine(0.3, 0, 512_345.6, 0, -0.3, 4_012_345.6)
ROTATED = Affine(0.3, 0.1, 512_345.6, 0.1, -0.3, 4_012_345.6)
RING_HW = np.zeros((30, 40), bool)
RING_HW[2:20, 3:30] = True
RING_HW[5:9, 6:12] = RING_HW[12, 20] = False
MASKS = [RING_HW, *random_masks(30, 40, 3)]


def exported(folder, data, masks=MASKS, key="b/a.tif"):
    path = folder / "a.tif"
    path.write_bytes(data)
    result = result_of(key, masks, 4, (30, 40))
    ref = replace(result.ref, uri=str(path))
    return export(folder / "out", "geojson", [replace(result, ref=ref, sha256=hashlib.sha256(data).hexdigest())])


def place(transform=NORTH_UP, crs="EPSG:32610"):
    return geotiff(np.zeros((3, 30, 40), np.uint8), transform=transform, crs=crs)


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north up", "rotated"])
def test_every_mask_comes_back_where_the_image_lies(tmp_path, transform):
    folder = exported(tmp_path, place(transform))
    assert written(folder) == ["b/a.tif.geojson"]
    said = json.loads((folder / "b/a.tif.geojson").read_text())
    assert said["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32610"
    assert [one["id"] for one in said["features"]] == [4_000_001, 4_000_002, 4_000_003, 4_000_004]
    for mask_HW, feature in zip(MASKS, said["features"], strict=True):
        filled_HW = rasterize([feature["geometry"]], out_shape=mask_HW.shape, transform=transform)
        assert np.array_equal(filled_HW.astype(bool), mask_HW)
        assert feature["properties"]["area"] == mask_HW.sum()


def test_degrees_of_wgs84_are_named_as_rfc_7946_means_them(tmp_path):
    folder = exported(tmp_path, place(Affine(1e-5, 0, 8.5, 0, -1e-5, 47.4), "EPSG:4326"))
    said = json.loads((folder / "b/a.tif.geojson").read_text())
    assert said["crs"]["properties"]["name"] == "urn:ogc:def:crs:OGC:1.3:CRS84"
    assert said["features"][0]["geometry"]["coordinates"][0][0][0] == pytest.approx(
        [8.5 + 3e-5, 47.4 - 20e-5], abs=3e-4
    )


def test_outlines_turn_counterclockwise_and_holes_clockwise(tmp_path):
    said = json.loads((exported(tmp_path, place(), [RING_HW]) / "b/a.tif.geojson").read_text())
    ((outline, *holes),) = said["features"][0]["geometry"]["coordinates"]
    assert [turned(ring) > 0 for ring in (outline, *holes)] == [True, False, False]
    assert all(ring[0] == ring[-1] for ring in (outline, *holes))


def turned(ring):
    x, y = (np.array(ring) - ring[0]).T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum()


def test_an_image_that_says_not_where_it_lies_is_refused_by_name(tmp_path):
    with pytest.raises(
        JobError, match=r"a\.tif: names no reference system .*; geojson is for images that lie somewhere"
    ):
        exported(tmp_path, place(crs=None))
