import numpy as np
import pytest

from sam_batch.data.readers.opened import check_size, pick
from sam_batch.errors import ImageError


@pytest.mark.parametrize("numbers", [(1,), (2, 3), (1, 2, 3, 4)])
def test_bands_in_a_row_are_not_copied(numbers):
    samples = np.arange(24).reshape(2, 3, 4)
    picked = pick(samples, numbers)
    np.testing.assert_array_equal(picked, samples[..., numbers[0] - 1 : numbers[-1]])
    assert np.shares_memory(picked, samples)


def test_bands_are_picked_in_the_order_asked_for():
    samples = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(pick(samples, (4, 1, 1)), samples[..., [3, 0, 0]])


def test_the_limit_itself_is_allowed():
    check_size(10, 10, 100)
    with pytest.raises(ImageError, match="101 x 1 pixels; at most 100"):
        check_size(101, 1, 100)
