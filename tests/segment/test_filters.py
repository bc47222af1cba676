import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.masks import run_lengths

from sam_batch.config import GeneratorConfig
from sam_batch.masks import rle
from sam_batch.records import Annotation, Prompt
from sam_batch.segment.filters import apply_filters, passes_scores

SIZE = (20, 20)


def square(mask_id, side, predicted_iou, corner=0):
    mask = np.zeros(SIZE, dtype=bool)
    mask[corner : corner + side, corner : corner + side] = True
    counts = run_lengths(mask)
    bbox = rle.bbox(counts, *SIZE)
    return Annotation(mask_id, bbox, side * side, predicted_iou, 1.0, Prompt(), (0.0, 0.0, 20.0, 20.0), counts)


FOUND = [square(0, 10, 0.9), square(1, 9, 0.95), square(2, 2, 0.7, corner=15), square(3, 3, 0.8), square(4, 20, 0.5)]


def kept(**settings):
    return [FOUND.index(next(old for old in FOUND if old.counts == new.counts)) for new in thinned(**settings)]


def thinned(**settings):
    return apply_filters(FOUND, SIZE, GeneratorConfig(**settings))


def test_off_they_change_nothing():
    assert thinned() == FOUND


def test_large_masks_are_dropped():
    assert kept(max_mask_region_area=100) == [0, 1, 2, 3]


def test_masks_are_dropped_by_pixels_or_by_their_share_of_the_image():
    assert kept(min_mask_area=9, max_mask_area=100) == [0, 1, 3]
    assert kept(min_mask_area="2.25%", max_mask_area="25%") == [0, 1, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_mask_area": 800}, "generator.min_mask_area = 800; the nearest had about 0.5 times that"),
        ({"max_mask_area": "0.5%"}, "generator.max_mask_area = 0.5%; the nearest had about 2 times that"),
        ({"max_mask_area": 100, "min_mask_area": 101}, "generator.min_mask_area = 101; the nearest had about 1 times"),
    ],
)
def test_where_no_area_is_right_the_bound_is_named(settings, message, caplog):
    assert kept(**settings) == []
    assert message in caplog.text


def test_of_nearly_the_same_masks_the_best_predicted_stays():
    assert kept(mask_nms_thresh=0.8) == [1, 2, 3, 4]


def test_masks_within_better_ones_are_dropped():
    assert kept(containment_thresh=0.9) == [0, 1, 2, 4]


def test_the_best_predicted_stay_in_their_order():
    assert kept(max_masks_per_image=2) == [0, 1]
    assert kept(max_masks_per_image=3) == [0, 1, 3]


@given(
    st.integers(0, 400),
    st.none() | st.integers(1, 400) | st.integers(1, 100).map("{}%".format),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(1, 5),
)
def test_what_stays_is_a_subset_in_order_numbered_anew(area, least, nms, containment, count):
    settings = {
        "max_mask_region_area": area,
        "min_mask_area": least,
        "mask_nms_thresh": nms,
        "containment_thresh": containment,
        "max_masks_per_image": count,
    }
    assert kept(**settings) == sorted(kept(**settings))
    assert [one.mask_id for one in thinned(**settings)] == list(range(len(kept(**settings))))


@pytest.mark.parametrize(
    ("scores", "thresholds", "passes"),
    [
        ((0.5, 0.5), (0.5, 0.0), False),
        ((0.5, 0.5), (0.0, 0.5), True),
        ((0.9, float(np.float32(0.95))), (0.88, 0.95), True),
        ((-0.1, float("nan")), (0.0, 0.0), True),
    ],
    ids=["predicted IoU must be above", "stability may be equal", "in float32", "at 0 all pass"],
)
def test_scores_are_compared_as_a_run_does(scores, thresholds, passes):
    assert passes_scores(*scores, *thresholds) is passes
