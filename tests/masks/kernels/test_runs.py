import numpy as np
import pytest
from hypothesis import given
from support.masks import masks

from sam_batch.masks.kernels.runs import run_lengths
from sam_batch.masks.patch import Patch


def counts_of(mask_HW, x=0, y=0, size_hw=None):
    """Of a mask at (x, y) of a frame, which ends with the mask unless its size is given."""
    patch = Patch.of(mask_HW).shift(x, y)
    height, width = size_hw or (mask_HW.shape[0] + y, mask_HW.shape[1] + x)
    return run_lengths(np.frombuffer(patch.bits, np.uint8), patch.box, height, width).tolist()


@given(masks())
def test_pixels_are_counted_column_by_column(mask):
    pixels = np.repeat(np.arange(len(counts := counts_of(mask))) % 2 == 1, counts)
    assert np.array_equal(pixels.reshape(mask.shape, order="F"), mask)


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((2, 3), [0, 6]), ((3, 3), [0, 2, 1, 2, 1, 2, 1]), ((2, 5), [0, 6, 4])]
)
def test_a_run_goes_on_in_the_next_column_only_from_the_frames_last_row_to_its_first(size_hw, expected):
    assert counts_of(np.ones((2, 3), bool), size_hw=size_hw) == expected


def test_a_row_of_single_pixels_has_the_most_runs():
    assert counts_of(np.ones((1, 3), bool), x=1, y=1, size_hw=(3, 5)) == [4, 1, 2, 1, 2, 1, 4]
