import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils import amg

from sam_batch.masks.grids import crop_boxes, layer_point_grids, point_grid


@pytest.mark.parametrize("n_per_side", [1, 2, 7, 32])
def test_points_are_the_references_to_the_bit(n_per_side):
    assert np.array_equal(point_grid(n_per_side), amg.build_point_grid(n_per_side))


@given(st.integers(1, 8), st.integers(0, 2), st.integers(1, 3))
def test_layers_have_the_references_points(points_per_side, n_layers, scale):
    points_per_side *= scale**n_layers
    ours = layer_point_grids(points_per_side, n_layers, scale)
    theirs = amg.build_all_layer_point_grids(points_per_side, n_layers, scale)
    assert [one.tolist() for one in ours] == [one.tolist() for one in theirs]


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(0, 4), st.floats(0, 1, exclude_max=True))
def test_crops_are_the_references_in_its_order(height, width, n_layers, overlap_ratio):
    boxes, layers = amg.generate_crop_boxes((height, width), n_layers, overlap_ratio)
    expected = list(zip(map(tuple, boxes), layers, strict=True))
    assert crop_boxes((height, width), n_layers, overlap_ratio) == expected
