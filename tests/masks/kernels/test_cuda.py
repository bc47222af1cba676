from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import kernels
from support.rounding import assert_torchs, upsample

from sam_batch.masks.geometry import view_shape
from sam_batch.masks.kernels import cpu
from sam_batch.masks.kernels.bilinear import Step, Steps, steps_for
from sam_batch.masks.kernels.cpu import Levels, levels_at, scan
from sam_batch.masks.logits import Scale
from sam_batch.masks.patch import Patch

pytest.importorskip("triton", reason="torch brings Triton along on Linux alone")
from sam_batch.masks.kernels import cuda

LEVELS = levels_at(0.0, 1.0)


@pytest.fixture(scope="module")
def call():
    with kernels.process() as call:
        yield call


def smooth_logits(count, side, seed, window=5):
    noise = torch.randn((count, side + window - 1, side + window - 1), generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.avg_pool2d(noise, window, 1) * window * 2).numpy()


def steps_of(low_hw, side, height, width):
    return steps_for(low_hw, Scale(side, view_shape(height, width, side), (height, width)))


def scanned(low_Khw, steps, levels):
    """Counts and patches by the kernel for the CPU, which is tested against torch."""
    for low_hw in low_Khw:
        mask_WH = np.zeros((len(steps.to_crop.x.first), len(steps.to_crop.y.first)), np.uint8)
        found = scan(np.ascontiguousarray(low_hw.T), steps, levels, mask_WH)
        yield found.inner, found.outer, Patch.cut(mask_WH, tuple(map(int, found.box)))


@settings(max_examples=10)
@given(
    st.integers(1, 45), st.integers(1, 45), st.sampled_from([32, 64, 256]), st.integers(1, 3),
    st.sampled_from([(0.0, 1.0), (0.7, 1e-6), (-3.0, 6.0)]), st.sampled_from([0.0, 0.3]), st.integers(0, 99),
)  # fmt: skip
def test_stable_masks_are_those_of_the_cpu_kernel(call, height, width, side, count, levels, min_stability, seed):
    """To the last bit: fused multiply-add is exact, in the interpreter as on a GPU."""
    low_Khw = smooth_logits(count, side // 4, seed, seed % 9 + 1)
    settings = (Scale(side, view_shape(height, width, side), (height, width)), *levels, min_stability)
    assert call(kernels.stable_masks, low_Khw, *settings) == list(
        cpu.stable_masks(torch.from_numpy(low_Khw), *settings)
    )


def test_logits_are_rounded_as_foretold(call):
    """Levels that are logits themselves tell them from their neighbours among the numbers."""
    low_Khw, steps = smooth_logits(1, 8, seed=6), steps_of((8, 8), 32, 37, 29)
    full_HW = upsample(low_Khw[0], Scale(32, view_shape(37, 29, 32), (37, 29)))
    some = np.sort(full_HW.ravel())[::43]
    for levels in zip(some[16:24], some[8:16], some[:8], strict=True):
        inner_K, outer_K, boxes_K4 = call(kernels.measure, low_Khw, steps, Levels(*levels), {})
        assert (inner_K[0], outer_K[0]) == ((full_HW > levels[0]).sum(), (full_HW > levels[2]).sum())
        assert tuple(boxes_K4[0]) == Patch.of(full_HW > levels[1]).box


def test_a_single_logit_is_seen_from_every_tile_that_it_reaches(call):
    low_Khw, steps = np.full((8, 8, 8), -20, np.float32), steps_of((8, 8), 32, 64, 64)
    low_Khw[range(8), range(8), range(8)] = 40
    inner_K, outer_K, boxes_K4 = call(kernels.measure, low_Khw, steps, LEVELS, {})
    expected = list(scanned(low_Khw, steps, LEVELS))
    assert list(zip(inner_K, outer_K, strict=True)) == [one[:2] for one in expected]
    patches = call(kernels.cut, low_Khw, steps, 0.0, np.arange(8), boxes_K4, {})
    assert patches == [patch for _, _, patch in expected]


def test_masks_are_torchs_but_for_ties(call):
    low_Khw, scale = smooth_logits(3, 32, seed=1), Scale(128, (93, 128), (61, 84))
    for mask in call(kernels.stable_masks, low_Khw, scale, 0.0, 1.0, 0.0):
        assert_torchs(mask.patch.unpack(61, 84), low_Khw[mask.index], scale, 0.0)


@pytest.mark.parametrize("crop_hw", [(1, 1), (1, 50), (50, 1), (33, 17)])
def test_empty_and_full_masks(call, crop_hw):
    low_Khw = np.stack([np.full((16, 16), value, np.float32) for value in (-9, 9)])
    scale = Scale(64, view_shape(*crop_hw, 64), crop_hw)
    empty, full = call(kernels.stable_masks, low_Khw, scale, 0.0, 1.0, 0.0)
    assert (empty.stability, full.stability) == (0.0, 1.0)
    assert empty.patch == Patch.of(np.zeros(crop_hw, bool))
    assert full.patch == Patch.of(np.ones(crop_hw, bool))


def test_no_masks(call):
    scale = Scale(64, (64, 48), (40, 30))
    assert call(kernels.stable_masks, np.zeros((0, 16, 16), np.float32), scale, 0.0, 1.0, 0.0) == []
    low_Khw = np.full((2, 16, 16), -9, np.float32)
    assert call(kernels.stable_masks, low_Khw, scale, 0.0, 1.0, 0.5) == []


def test_logits_may_lie_in_memory_in_any_order(call):
    low_Khw, steps = smooth_logits(2, 8, seed=3), steps_of((8, 8), 32, 30, 40)
    straight, strided = (
        call(kernels.measure, low_Khw, steps, LEVELS, {}),
        call(kernels.measure_strided, np.ascontiguousarray(low_Khw.T), steps, LEVELS),
    )
    assert all(map(np.array_equal, straight, strided))


@pytest.mark.parametrize("limits", [{"WORDS": 1}, {"WORDS": 40}, {"PROGRAMS": 1}, {"PROGRAMS": 7}])
def test_many_launches_do_what_one_does(call, limits):
    low_Khw, steps = smooth_logits(4, 8, seed=4), steps_of((8, 8), 32, 30, 40)
    patches = [patch for _, _, patch in scanned(low_Khw, steps, LEVELS)]
    boxes = np.array([patch.box for patch in patches], np.int32)
    assert call(kernels.cut, low_Khw, steps, 0.0, np.arange(4), boxes, limits) == patches
    assert call(kernels.measure, low_Khw, steps, LEVELS, limits).boxes.tolist() == boxes.tolist()


def test_sizes_and_steps_are_copied_to_the_gpu_once_for_all_prompts_of_a_view(monkeypatch):
    nothing = cuda.Measured(np.zeros(2, np.int32), np.ones(2, np.int32), np.zeros((2, 4), np.int32))
    monkeypatch.setattr(cuda, "measure", Mock(return_value=nothing))
    copied = Mock(wraps=cuda.geometry)
    monkeypatch.setattr(cuda, "geometry", copied)
    for crop_hw in ((41, 30), (41, 30), (41, 31)):
        assert list(cuda.stable_masks(torch.zeros(2, 16, 16), Scale(64, (64, 48), crop_hw), 0.0, 1.0, 0.5)) == []
    assert copied.call_count == 2


def test_portions_are_bounded_in_words_and_number(monkeypatch):
    monkeypatch.setattr(cuda, "WORDS", 8)
    words_N = np.array([3, 5, 40, 1, 1, 1, 1])
    parts = [words_N[some].tolist() for some in cuda.portions(words_N, 3)]
    assert parts == [[3, 5], [40], [1, 1, 1], [1]]


def test_tiles_far_from_the_levels_are_not_computed(call):
    """With weights that are no numbers, what is computed is no mask; what is filled is."""
    low_Khw = np.where(np.arange(64) < 32, -20, 20).astype(np.float32) * np.ones((2, 64, 1), np.float32)
    to_input, to_crop = steps_of((64, 64), 256, 64, 256)
    unknown = to_crop.x._replace(far=np.full(256, np.nan, np.float32))
    steps = Steps(to_input, to_crop._replace(x=unknown))
    inner_K, outer_K, boxes_K4 = call(kernels.measure, low_Khw, steps, LEVELS, {})
    assert inner_K.tolist() == outer_K.tolist() == [112 * 64] * 2
    assert boxes_K4.tolist() == [[144, 0, 255, 63]] * 2
    (patch, _) = call(kernels.cut, low_Khw, steps, 0.0, np.array([0, 1]), boxes_K4 - [144, 0, 0, 0], {})
    assert patch.unpack(64, 256)[:, 144:].all()
    assert not patch.unpack(64, 256)[:, :144].any()


def test_the_last_pixels_of_a_hundred_megapixels(call):
    low_Khw, steps = smooth_logits(1, 64, seed=5), steps_of((64, 64), 256, 10_000, 10_000)
    x, y = np.arange(9_985, 10_000), np.arange(9_940, 10_000)
    cropped = Steps(steps.to_input, Step(taken(steps.to_crop.x, x), taken(steps.to_crop.y, y)))
    ((_, _, whole),) = scanned(low_Khw - low_Khw[0, -1, -1] + 0.1, cropped, LEVELS)
    x0, y0, x1, y1 = whole.box
    box = np.array([[9_985 + x0, 9_940 + y0, 9_985 + x1, 9_940 + y1]])
    found = call(kernels.cut, low_Khw - low_Khw[0, -1, -1] + 0.1, steps, 0.0, np.array([0]), box, {})
    assert found == [Patch(tuple(box[0].tolist()), whole.bits)]


def taken(axis, outputs):
    return type(axis)(*(part[outputs] for part in axis))
