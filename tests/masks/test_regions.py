import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.amg import remove_small_regions
from support.masks import masks

from sam_batch.masks.regions import drop_islands, fill_holes


@given(masks(), st.integers(0, 60))
def test_holes_are_filled_as_the_reference_fills_them(mask, min_area):
    theirs, changed = remove_small_regions(mask, min_area, "holes")
    ours = fill_holes(mask, min_area)
    assert np.array_equal(ours, theirs)
    assert (ours is not mask) == changed


@given(masks(), st.integers(0, 60))
def test_islands_are_dropped_as_the_reference_drops_them(mask, min_area):
    theirs, changed = remove_small_regions(mask, min_area, "islands")
    ours = drop_islands(mask, min_area)
    assert np.array_equal(ours, theirs)
    assert (ours is not mask) == changed


def test_the_largest_island_stays_where_all_are_small():
    mask = np.array([[1, 0, 1, 1, 0, 1]], dtype=bool)
    assert drop_islands(mask, 100).tolist() == [[False, False, True, True, False, False]]


def test_corners_connect():
    assert drop_islands(np.eye(4, dtype=bool), 4).sum() == 4
