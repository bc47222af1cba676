"""LabelMe's files hold every mask as a picture of its box."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from PIL import Image
from support.exports import export, result_at, three_images, written
from support.masks import masks
from support.readers.cases import Photo


def drawn(file):
    """As LabelMe's `shape_to_mask` does for shapes of type mask."""
    mask_HW = np.zeros((file["imageHeight"], file["imageWidth"]), bool)
    for shape in file["shapes"]:
        (x0, y0), (x1, y1) = shape["points"]
        mask_HW[y0 : y1 + 1, x0 : x1 + 1] = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))) > 0
    return mask_HW


@given(masks())
def test_every_mask_comes_back(tmp_path_factory, mask_HW):
    folder = export(tmp_path_factory.mktemp("out"), "labelme", three_images(mask_HW))
    assert written(folder) == ["b/a.jpg.json", "none.jpg.json"]
    file = json.loads((folder / "b/a.jpg.json").read_text())
    assert np.array_equal(drawn(file), mask_HW)
    assert (file["imagePath"], {shape["label"] for shape in file["shapes"]} <= {"object"}) == ("a.jpg", True)


@pytest.mark.parametrize(("images", "picture"), [("copy", "a.jpg.jpg"), ("oriented", "a.jpg.png")])
def test_the_picture_lies_beside_the_file(tmp_path, images, picture):
    photo = Photo("images/a.jpg", [np.eye(9, dtype=bool)], (9, 9), orientation=3)
    result = result_at(photo.save(tmp_path / "photos"), photo)
    folder = export(tmp_path, "labelme", [result], images=images)
    file = json.loads((folder / "images/a.jpg.json").read_text())
    with Image.open(folder / "images" / file["imagePath"]) as opened:
        assert opened.size == (9, 9)
    assert file["imagePath"].endswith(picture)
