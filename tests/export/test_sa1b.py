"""Files as SA-1B has them decode in pycocotools."""

import json

import numpy as np
from hypothesis import given
from pycocotools import mask as coco_mask
from support.exports import export, three_images, written
from support.masks import masks


@given(masks())
def test_every_mask_comes_back_with_its_scores(tmp_path_factory, mask_HW):
    folder = export(tmp_path_factory.mktemp("out"), "sa1b", three_images(mask_HW))
    assert written(folder) == ["b/a.jpg.json", "none.jpg.json"]
    file = json.loads((folder / "b/a.jpg.json").read_text())
    height, width = mask_HW.shape
    assert file["image"] == {"image_id": 1, "file_name": "b/a.jpg", "width": width, "height": height}
    for one in file["annotations"]:
        assert np.array_equal(coco_mask.decode(one["segmentation"]), mask_HW)
        assert (one["id"], one["predicted_iou"], one["stability_score"]) == (1, 0.5, 0.75)
    assert len(file["annotations"]) == mask_HW.any()
