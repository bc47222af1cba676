import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils import amg
from support.masks import masks

from sam_batch.masks.patch import Patch


@given(masks())
def test_a_mask_survives_packing(mask):
    assert np.array_equal(Patch.of(mask).unpack(*mask.shape), mask)


@given(masks())
def test_the_box_is_the_references(mask):
    assert list(Patch.of(mask).box) == amg.batched_mask_to_box(torch.tensor(mask)).tolist()


@given(masks(), st.integers(0, 9), st.integers(0, 9))
def test_a_shifted_mask_lies_elsewhere_in_a_larger_frame(mask, x, y):
    frame = np.zeros((mask.shape[0] + 12, mask.shape[1] + 12), dtype=bool)
    frame[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    assert np.array_equal(Patch.of(mask).shift(x, y).unpack(*frame.shape), frame)


def test_a_small_mask_in_a_large_image_takes_little_memory():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[100:200, 300:380] = True
    assert len(Patch.of(mask).bits) == 1000


def test_frames_are_column_major_as_run_lengths_are():
    assert Patch.of(np.ones((3, 4), dtype=bool)).unpack(3, 4).flags.f_contiguous
