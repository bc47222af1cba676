import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.masks import bilinear
from sam_batch.masks.bilinear import axis, interpolate

sides = st.one_of(st.integers(1, 3), st.integers(4, 300))


@given(sides, sides, sides, sides, st.integers(0, 99))
def test_one_step_is_torchs_of_three_channels_to_the_bit(height, width, new_height, new_width, seed):
    images_3hw = torch.randn((3, height, width), generator=torch.Generator().manual_seed(seed)) * 5
    theirs = F.interpolate(images_3hw[None], (new_height, new_width), mode="bilinear", align_corners=False)[0, 0]
    ours = interpolate(images_3hw[0].numpy(), axis(width, new_width), axis(height, new_height))
    assert np.array_equal(ours, theirs.numpy())


@given(sides, sides)
def test_an_axis_mixes_neighbours_in_order(n_in, n_out):
    first, second, near, far = axis(n_in, n_out)
    assert (np.diff(first) >= 0).all()
    assert np.array_equal(second, np.minimum(first + 1, n_in - 1))
    assert np.array_equal(near, np.float32(1) - far)
    assert (far >= 0).all()


def test_functions_compile_where_nothing_can_be_kept(monkeypatch):
    """numba refuses at once if it may write neither beside the module nor at home."""

    def njit(*, nogil, cache=False):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, nogil)

    monkeypatch.setattr(bilinear, "njit", njit)
    assert bilinear.compiled(abs) == (abs, True)
