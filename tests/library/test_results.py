import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.masks import masks
from support.results import annotation_of

from sam_batch.library.results import Masks

SQUARE = np.zeros((6, 9), dtype=bool)
SQUARE[2:4, 3:7] = True
FOUND = Masks((annotation_of(SQUARE, 0), annotation_of(~SQUARE, 1)), 6, 9)


@given(st.lists(masks(8), min_size=1, max_size=1))
def test_arrays_are_the_masks(drawn):
    (mask,) = drawn
    found = Masks((annotation_of(mask, 0),), *mask.shape)
    assert np.array_equal(found.arrays, mask[None])
    assert found.areas.tolist() == [mask.sum()]


def test_a_box_cuts_its_mask_out():
    x0, y0, x1, y1 = map(int, FOUND.boxes[0])
    assert (x0, y0, x1, y1) == (3, 2, 7, 4)
    assert FOUND[0].array[y0:y1, x0:x1].all()


def test_masks_are_a_sequence():
    assert [mask.area for mask in FOUND] == [8, 46]
    assert FOUND[1:].counts == [FOUND[1].counts]
    assert FOUND.scores.tolist() == [0.5, 0.5]


def test_no_masks_have_arrays_too():
    none = Masks((), 6, 9)
    assert none.arrays.shape == (0, 6, 9)
    assert none.boxes.shape == (0, 4)


@pytest.mark.parametrize("segmentation", ["binary_mask", "coco_rle"])
def test_records_have_the_keys_of_segment_anything(segmentation):
    record = FOUND.records(segmentation)[0]
    keys = "area bbox crop_box point_coords predicted_iou segmentation stability_score"
    assert sorted(record) == keys.split()
    assert isinstance(record["segmentation"], np.ndarray) == (segmentation == "binary_mask")


def test_a_picture_of_themselves_has_the_size_of_the_image():
    assert Image.open(io.BytesIO(FOUND._repr_png_())).size == (9, 6)
    assert FOUND.draw(np.zeros((6, 9, 3), dtype=np.uint8)).size == (9, 6)
    with pytest.raises(ValueError, match=r"should be \(6, 9, 3\)"):
        FOUND.draw(np.zeros((9, 6, 3), dtype=np.uint8))
