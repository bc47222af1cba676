import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rounding import assert_torchs, upsample, upsample_with_torch, where_torch_rounds_alike
from support.threads import threads_of_torch

from sam_batch.masks.geometry import view_shape
from sam_batch.masks.kernels.bilinear import steps_for
from sam_batch.masks.kernels.cpu import Scanned, levels_at, scan, stable_masks
from sam_batch.masks.logits import Scale, StableMask
from sam_batch.masks.patch import Patch

LEVELS = levels_at(0.0, 1.0)
SETTINGS = [(0.0, 1.0), (0.0, 0.1), (-3.0, 6.0), (0.7, 1e-6), (20.0, 0.3)]  # threshold, offset
sides = st.one_of(st.integers(1, 5), st.integers(6, 120), st.integers(121, 900))


def scale_of(height, width, side):
    return Scale(side, view_shape(height, width, side), (height, width))


def smooth_logits(count, side, seed):
    """From noise to something smooth, by the seed."""
    window = seed % 9 + 1
    noise = torch.randn(1, 7, side + window - 1, side + window - 1, generator=torch.Generator().manual_seed(seed))
    return (F.avg_pool2d(noise, window, 1) * window * 5)[0, :count].numpy()


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


def scanned(low_hw, scale, levels=LEVELS):
    mask_WH = np.zeros(scale.crop_hw[::-1], np.uint8)
    return mask_WH.T, scan(np.ascontiguousarray(low_hw.T), steps_for(low_hw.shape, scale), levels, mask_WH)


@settings(max_examples=150)
@given(sides, sides, st.sampled_from([128, 256, 512, 1024]), st.sampled_from(SETTINGS), st.data())
def test_masks_counts_and_boxes_are_those_of_plain_interpolation_to_the_bit(height, width, side, setting, data):
    low_hw, scale, levels = data.draw(low_logits(side // 4)), scale_of(height, width, side), levels_at(*setting)
    mask_HW, found = scanned(low_hw, scale, levels)
    full_HW = upsample(low_hw, scale)
    assert np.array_equal(mask_HW, full_HW > levels.threshold)
    assert (found.inner, found.outer) == ((full_HW > levels.inner).sum(), (full_HW > levels.outer).sum())
    assert found.box == Patch.of(full_HW > levels.threshold).box


@settings(max_examples=150)
@given(sides, sides, st.sampled_from([128, 256, 512, 1024]), st.integers(1, 2), st.data())
def test_masks_are_torchs_but_for_ties_whatever_its_release(height, width, side, threads, data):
    low_hw, scale = data.draw(low_logits(side // 4)), scale_of(height, width, side)
    for threshold in (0.0, -3.0):
        mask_HW, _ = scanned(low_hw, scale, levels_at(threshold, 1.0))
        with threads_of_torch(threads):
            assert_torchs(mask_HW, low_hw, scale, threshold)


@where_torch_rounds_alike
@given(st.integers(100, 900), st.integers(100, 900), st.sampled_from([128, 256, 1024]), st.data())
def test_masks_are_torchs_to_the_bit_in_several_threads(height, width, side, data):
    low_hw, scale = data.draw(low_logits(side // 4)), scale_of(height, width, side)
    with threads_of_torch(2):
        theirs_HW = upsample_with_torch(low_hw, scale)
    assert np.array_equal(scanned(low_hw, scale)[0], theirs_HW > 0)


@given(st.integers(0, 7), sides, sides, st.sampled_from(SETTINGS), st.sampled_from([0.0, 0.2, 0.5]), st.integers(0, 99))
def test_stable_masks_are_those_that_reach_the_minimum_on_any_number_of_threads(
    count, height, width, setting, min_stability, seed
):
    low_Khw, scale, levels = smooth_logits(count, 32, seed), scale_of(height, width, 128), levels_at(*setting)
    expected = []
    for index, low_hw in enumerate(low_Khw):
        mask_HW, found = scanned(low_hw, scale, levels)
        stability = np.float32(found.inner) / np.float32(max(found.outer, 1))
        if stability >= np.float32(min_stability):
            expected.append(StableMask(index, float(stability), Patch.of(mask_HW.view(bool))))
    for threads in (1, 2):
        with threads_of_torch(threads):
            assert list(stable_masks(torch.from_numpy(low_Khw), scale, *setting, min_stability)) == expected


def test_pixels_far_from_the_levels_are_not_computed():
    """The interpolation of a tile would overwrite what is already there."""
    low_wh = np.where(np.arange(64) < 32, -20, 20).astype(np.float32) * np.ones((64, 1), np.float32)
    mask_WH = np.full((512, 512), 7, np.uint8)
    scan(low_wh, steps_for((64, 64), Scale(256, (256, 256), (512, 512))), LEVELS, mask_WH)
    assert (mask_WH[:, :224] == 7).all()
    assert (mask_WH[:, 288:] == 1).all()
    assert set(np.unique(mask_WH[:, 240:272])) <= {0, 1, 7}


def test_the_box_of_nothing_is_the_first_pixel():
    _, found = scanned(np.full((8, 8), -9, np.float32), Scale(32, (32, 21), (30, 20)))
    assert found == Scanned(0, 0, (0, 0, 0, 0))
