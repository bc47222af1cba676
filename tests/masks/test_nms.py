import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.masks import run_lengths

from sam_batch.masks.nms import box_nms, drop_contained, mask_nms

SIZE = (6, 7)
scores = st.sampled_from([0.1, 0.5, 0.5, 0.9])
stacks = st.lists(st.tuples(hnp.arrays(bool, SIZE).filter(np.any), scores), max_size=6)
thresholds = st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0])


def greedy(stack, drops):
    """Masks best first, each kept unless one kept before drops it."""
    kept = []
    for i in sorted(range(len(stack)), key=lambda i: (-stack[i][1], i)):
        if not any(drops(stack[i][0], stack[j][0]) for j in kept):
            kept.append(i)
    return sorted(kept)


@given(stacks, thresholds)
def test_masks_are_suppressed_by_their_iou_with_better_ones(stack, threshold):
    expected = greedy(stack, lambda one, better: (one & better).sum() / (one | better).sum() > threshold)
    assert mask_nms([run_lengths(one) for one, _ in stack], [score for _, score in stack], SIZE, threshold) == expected


@given(stacks, thresholds)
def test_masks_are_suppressed_by_their_share_in_a_better_one(stack, threshold):
    expected = greedy(stack, lambda one, better: (one & better).sum() / one.sum() >= threshold)
    counts = [run_lengths(one) for one, _ in stack]
    assert drop_contained(counts, [score for _, score in stack], SIZE, threshold) == expected


def test_boxes_come_back_best_first_without_duplicates():
    boxes = [(0, 0, 10, 10), (0, 0, 10, 11), (50, 50, 60, 60)]
    assert box_nms(boxes, [0.5, 0.6, 0.9], 0.7) == [2, 1]


@pytest.mark.parametrize("count", [3, 1500])
def test_of_equal_boxes_the_first_of_the_best_stays(count):
    assert box_nms([(0, 0, 10, 10)] * count, [0.5] * count, 0.7) == [0]


def test_boxes_at_the_threshold_stay():
    assert box_nms([(0, 0, 10, 10), (0, 0, 10, 5)], [0.9, 0.8], 0.5) == [0, 1]


def test_of_no_box_none_stays():
    assert box_nms([], [], 0.5) == []
