import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from benchmarks.harness.agreement import Agreement, compare, pair


def encoded(columns: int) -> dict:
    """A mask of the first columns of a 10 x 200 image."""
    mask_HW = np.zeros((10, 200), dtype=np.uint8, order="F")
    mask_HW[:, :columns] = 1
    return coco.encode(mask_HW)


def test_the_best_pairs_are_found_first() -> None:
    assert pair(np.array([[0.9, 0.8], [0.95, 0.1]])) == [0.95, 0.8]


@given(arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(0, 5)), elements=st.floats(0, 1)))
def test_a_mask_is_paired_at_most_once(iou_AB: np.ndarray) -> None:
    found = pair(iou_AB)
    assert len(found) <= min(iou_AB.shape)
    assert found == sorted(found, reverse=True)


@given(st.permutations(range(6)))
def test_order_does_not_matter(order: list[int]) -> None:
    masks = [encoded(20 * one + 20) for one in range(6)]
    agreement = compare([masks], [[masks[i] for i in order]])
    assert agreement.matched_fraction == agreement.mean_matched_iou == 1


def test_a_pair_below_the_limit_counts_for_the_mean_alone() -> None:
    """199 of 200 columns are a twin, 150 of 200 are not; 60 of 200 are another thing."""
    agreement = compare([[encoded(200)]] * 3, [[encoded(199)], [encoded(150)], [encoded(60)]])
    assert agreement.matched_fraction == pytest.approx(1 / 3)
    assert agreement.mean_matched_iou == pytest.approx((0.995 + 0.75) / 2)


def test_missing_and_extra_masks_lower_the_fraction() -> None:
    one = [encoded(50)]
    assert compare([one], [one + one]).matched_fraction == 0.5
    assert compare([one + one], [one]).matched_fraction == 0.5
    assert compare([one], [[]]) == Agreement(1, 0, ())


def test_finding_nothing_twice_is_agreement() -> None:
    assert compare([[]], [[]]).matched_fraction == 1
