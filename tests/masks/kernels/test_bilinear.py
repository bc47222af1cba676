import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from support.rounding import SMALL, interpolate, upsample, upsample_with_torch, where_torch_rounds_alike
from support.threads import threads_of_torch

from sam_batch.masks.kernels.bilinear import step, steps_for
from sam_batch.masks.logits import Scale

sides = st.one_of(st.integers(1, 3), st.integers(4, 300))
SCALES = [Scale(256, (171, 256), (534, 800)), Scale(256, (256, 171), (97, 64)), Scale(256, (256, 256), (256, 256))]


def random_images(count, height, width, seed):
    return torch.randn((count, height, width), generator=torch.Generator().manual_seed(seed)) * 5


@where_torch_rounds_alike
@given(sides, sides, sides, sides, st.integers(2, 3), st.integers(0, 99))
def test_one_step_is_torchs_to_the_bit_in_several_threads(height, width, high, wide, threads, seed):
    assume(high + wide > SMALL)
    images_3hw = random_images(3, height, width, seed)
    with threads_of_torch(threads):
        theirs = F.interpolate(images_3hw[None], (high, wide), mode="bilinear", align_corners=False)[0, 0]
    ours = interpolate(images_3hw[0].numpy(), step((height, width), (high, wide)))
    assert np.array_equal(ours, theirs.numpy())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@given(sides, sides, sides, sides, st.integers(0, 99))
def test_one_step_is_torchs_to_the_bit_on_a_gpu(height, width, high, wide, seed):
    image_1hw = random_images(1, height, width, seed)
    theirs = F.interpolate(image_1hw[None].cuda(), (high, wide), mode="bilinear", align_corners=False)[0, 0].cpu()
    assert np.array_equal(interpolate(image_1hw[0].numpy(), step((height, width), (high, wide))), theirs.numpy())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_both_steps_are_as_near_to_the_exact_logits_as_torchs(scale, threads):
    low_hw = random_images(1, 64, 64, 0)[0].numpy()
    with threads_of_torch(threads):
        torchs_HW, exact_HW = upsample_with_torch(low_hw, scale), upsample_with_torch(low_hw.astype(np.float64), scale)
    ours, theirs = (np.abs(logits_HW - exact_HW) for logits_HW in (upsample(low_hw, scale), torchs_HW))
    assert ours.mean() <= 1.25 * theirs.mean()
    assert ours.max() <= 1.5 * theirs.max()


def test_the_steps_go_from_low_resolution_to_the_input_and_from_its_used_part_to_the_crop():
    (to_x, to_y), (crop_x, crop_y) = steps_for((16, 16), Scale(64, (64, 48), (40, 30)))
    assert [len(axis.first) for axis in (to_x, to_y, crop_x, crop_y)] == [64, 64, 30, 40]
    assert [axis.second.max() for axis in (to_x, to_y, crop_x, crop_y)] == [15, 15, 47, 63]


@given(sides, sides)
def test_an_axis_mixes_neighbours_in_order(n_in, n_out):
    first, second, far = step((1, n_in), (200, n_out)).x
    assert (np.diff(first) >= 0).all()
    assert np.array_equal(second, np.minimum(first + 1, n_in - 1))
    assert ((far >= 0) & (far <= 1)).all()
