"""LabelMe's files hold every mask as a picture of its box."""

import base64
import io
import json

import numpy as np
from hypothesis import given
from PIL import Image
from support.exports import export, three_images, written
from support.masks import masks


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
