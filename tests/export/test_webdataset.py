"""Shards hold photograph and masks of each image, under one name without a point."""

import json

import numpy as np
from pycocotools import mask as coco_mask
from support.exports import export, result_at, written
from support.readers.cases import Photo
from support.results import failed, random_masks

from sam_batch.output.tar import tar_members

MASKS = random_masks(64, 128, 2)


def members(tmp_path, photo, **settings):
    result = result_at(photo.save(tmp_path / "photos"), photo, 12)
    folder = export(tmp_path / "out", "webdataset", [result, failed("bad.jpg", 13)], **settings)
    assert written(folder) == ["shard-00000.tar"]
    return dict(tar_members((folder / "shard-00000.tar").read_bytes()))


def test_a_sample_is_the_photograph_and_its_masks(tmp_path):
    found = members(tmp_path, Photo("b/a.x.jpg", MASKS, (64, 128)))
    assert list(found) == ["000000013.jpg", "000000013.json"]
    assert found["000000013.jpg"] == (tmp_path / "photos/b/a.x.jpg").read_bytes()
    said = json.loads(found["000000013.json"])
    assert said["image"] == {"image_id": 13, "file_name": "b/a.x.jpg", "width": 128, "height": 64}
    for one, mask_HW in zip(said["annotations"], MASKS, strict=True):
        assert np.array_equal(coco_mask.decode(one["segmentation"]), mask_HW)


def test_an_oriented_photograph_is_a_png(tmp_path):
    found = members(tmp_path, Photo("a.jpg", MASKS, (64, 128), orientation=3), images="oriented")
    assert list(found) == ["000000013.png", "000000013.json"]
