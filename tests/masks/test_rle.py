import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils import amg
from support.masks import masks, run_lengths

from sam_batch.masks import rle
from sam_batch.masks.patch import Patch


@given(masks())
def test_a_mask_survives_its_run_lengths(mask):
    assert np.array_equal(rle.decode(rle.encode_patch(Patch.of(mask), *mask.shape), *mask.shape), mask)


@given(masks())
def test_run_lengths_are_pycocotools_and_the_references(mask):
    theirs = amg.coco_encode_rle(amg.mask_to_rle_pytorch(torch.tensor(mask)[None])[0])
    assert rle.as_coco(rle.encode_patch(Patch.of(mask), *mask.shape), *mask.shape) == theirs
    assert theirs["counts"] == run_lengths(mask)


@given(masks(), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_patch_has_the_run_lengths_of_its_frame(mask, x, y, right, bottom):
    patch = Patch.of(mask).shift(x, y)
    size = (y + mask.shape[0] + bottom, x + mask.shape[1] + right)
    assert rle.encode_patch(patch, *size) == run_lengths(patch.unpack(*size))


@given(masks())
def test_area_and_box_are_the_masks(mask):
    counts = run_lengths(mask)
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    assert rle.area(counts, *mask.shape) == mask.sum()
    expected = (0.0, 0.0, 0.0, 0.0)
    if mask.any():
        expected = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    assert rle.bbox(counts, *mask.shape) == expected


@given(masks(), st.integers(0, 9), st.integers(0, 9))
def test_an_encoded_mask_is_the_patch_that_it_was_encoded_from(mask, x, y):
    patch = Patch.of(mask).shift(x, y)
    size = (y + mask.shape[0], x + mask.shape[1])
    encoded = rle.EncodedMask(patch.box, rle.encode(patch, *size), size)
    assert (encoded.bits, encoded.is_empty) == (patch.bits, patch.is_empty)
    assert np.array_equal(encoded.unpack(*size), patch.unpack(*size))
    assert rle.encode(encoded, *size) == rle.encode_patch(patch, *size)
