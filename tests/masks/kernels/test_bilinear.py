import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.threads import threads_of_torch

from sam_batch.masks.kernels.bilinear import interpolate, step, step_on_cuda

sides = st.one_of(st.integers(1, 3), st.integers(4, 300))


@pytest.mark.usefixtures("fused_multiply_add")
@given(sides, sides, sides, sides, st.integers(1, 3), st.integers(0, 99))
def test_one_step_is_torchs_of_three_channels_to_the_bit(height, width, new_height, new_width, threads, seed):
    images_3hw = torch.randn((3, height, width), generator=torch.Generator().manual_seed(seed)) * 5
    new_hw = (new_height, new_width)
    with threads_of_torch(threads):
        theirs = F.interpolate(images_3hw[None], new_hw, mode="bilinear", align_corners=False)[0, 0]
    ours = interpolate(images_3hw[0].numpy(), step((height, width), new_hw, threads))
    assert np.array_equal(ours, theirs.numpy())


@given(sides, sides, sides, sides, st.integers(0, 99))
def test_one_step_on_cuda_is_torchs_to_the_bit_there_and_close_to_it_elsewhere(height, width, high, wide, seed):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    image_11hw = torch.randn((1, 1, height, width), generator=torch.Generator().manual_seed(seed))
    theirs = F.interpolate(image_11hw.to(device), (high, wide), mode="bilinear", align_corners=False)[0, 0].cpu()
    ours = interpolate(image_11hw[0, 0].numpy(), step_on_cuda((height, width), (high, wide)))
    assert np.abs(ours - theirs.numpy()).max() <= (0 if device == "cuda" else 2e-4)


@given(sides, sides, st.integers(1, 2))
def test_an_axis_mixes_neighbours_in_order(n_in, n_out, threads):
    first, second, near, far = step((1, n_in), (200, n_out), threads).x
    assert (np.diff(first) >= 0).all()
    assert np.array_equal(second, np.minimum(first + 1, n_in - 1))
    assert np.array_equal(near, np.float32(1) - far)
    assert (far >= 0).all()
