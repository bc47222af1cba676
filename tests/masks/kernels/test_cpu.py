import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.threads import threads_of_torch

from sam_batch.masks.geometry import view_shape
from sam_batch.masks.kernels.bilinear import step
from sam_batch.masks.kernels.cpu import Found, Levels, Steps, scan
from sam_batch.masks.logits import Scale, upsample
from sam_batch.masks.patch import Patch

sides = st.one_of(st.integers(1, 5), st.integers(6, 120), st.integers(121, 900))


@st.composite
def low_logits(draw, side):
    """A few discs and their complements, sharp or soft, with noise or without: tiles of every kind."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    y, x = np.mgrid[0:side, 0:side] + rng.uniform(-1, 1)
    low = np.full((side, side), -np.inf)
    for _ in range(draw(st.integers(1, 3))):
        centre, radius = rng.uniform(0, side, 2), rng.uniform(0, side)
        low = np.maximum(low, radius - np.hypot(y - centre[0], x - centre[1]))
    low = low * draw(st.sampled_from([0.02, 0.3, 2.0, 50.0, 1e6])) * draw(st.sampled_from([-1, 1]))
    return (low + rng.standard_normal((side, side)) * draw(st.sampled_from([0, 0, 0.1, 3]))).astype(np.float32)


@pytest.mark.usefixtures("fused_multiply_add")
@settings(max_examples=150)
@given(sides, sides, st.sampled_from([128, 256, 512, 1024]), st.integers(1, 2), st.data())
def test_masks_counts_and_boxes_are_those_of_upsampling(height, width, side, threads, data):
    low_hw = data.draw(low_logits(side // 4))
    threshold, offset = data.draw(st.sampled_from([(0.0, 1.0), (0.0, 0.1), (-3.0, 6.0), (0.7, 1e-6), (20.0, 0.3)]))
    levels = Levels(*map(np.float32, (threshold + offset, threshold, threshold - offset)))
    view = view_shape(height, width, side)
    mask_WH = np.zeros((width, height), np.uint8)
    steps = Steps(step(low_hw.shape, (side, side), threads), step(view, (height, width), threads))
    found = scan(np.ascontiguousarray(low_hw.T), steps, levels, mask_WH)

    with threads_of_torch(threads):
        full_HW = upsample(torch.from_numpy(low_hw)[None], Scale(side, view, (height, width)))[0].numpy()
    assert np.array_equal(mask_WH.T, full_HW > threshold)
    assert (found.inner, found.outer) == ((full_HW > levels.inner).sum(), (full_HW > levels.outer).sum())
    assert found.box == Patch.of(full_HW > threshold).box


def test_pixels_far_from_the_levels_are_not_computed():
    """The interpolation of a tile would overwrite what is already there."""
    low_wh = np.where(np.arange(64) < 32, -20, 20).astype(np.float32) * np.ones((64, 1), np.float32)
    mask_WH = np.full((512, 512), 7, np.uint8)
    levels = Levels(np.float32(1), np.float32(0), np.float32(-1))
    steps = Steps(step((64, 64), (256, 256), 1), step((256, 256), (512, 512), 1))
    scan(low_wh, steps, levels, mask_WH)
    assert (mask_WH[:, :224] == 7).all()
    assert (mask_WH[:, 288:] == 1).all()
    assert set(np.unique(mask_WH[:, 240:272])) <= {0, 1, 7}


def test_the_box_of_nothing_is_the_first_pixel():
    low_wh, mask_WH = np.full((8, 8), -9, np.float32), np.zeros((20, 30), np.uint8)
    levels = Levels(np.float32(1), np.float32(0), np.float32(-1))
    steps = Steps(step((8, 8), (32, 32), 1), step((32, 21), (30, 20), 1))
    assert scan(low_wh, steps, levels, mask_WH) == Found(0, 0, (0, 0, 0, 0))
