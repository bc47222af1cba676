"""Polygons with holes are valid, and rasterio fills them to the same mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from rasterio.features import rasterize
from support.masks import masks, run_lengths

from sam_batch.masks.areas import areas

# Two hole pixels that touch, parts that touch, a hole that touches the outside, parts around a hole.
TOUCHING = ["#### #.## ##.# ####", "##.. ##.. ..## ..##", "### #.# ##.", ".#. #.# .#.", "##### #.#.# ##.## #.#.# #####"]


def drawn(text):
    return np.array([[pixel == "#" for pixel in line] for line in text.split()])


def filled(polygons, shape):
    """By rasterio, each polygon of its outline and holes."""
    closed = [[[*ring.tolist(), ring[0].tolist()] for ring in rings] for rings in polygons]
    if not closed:
        return np.zeros(shape, bool)
    return rasterize([{"type": "MultiPolygon", "coordinates": closed}], out_shape=shape).astype(bool)


@settings(max_examples=100)
@given(masks(20))
def test_any_mask_comes_back(mask_HW):
    assert np.array_equal(filled(areas(run_lengths(mask_HW), *mask_HW.shape), mask_HW.shape), mask_HW)


@settings(max_examples=100)
@given(masks(20))
def test_no_ring_touches_itself_and_outlines_turn_right_and_holes_left(mask_HW):
    total = 0.0
    for rings in areas(run_lengths(mask_HW), *mask_HW.shape):
        for place, ring in enumerate(rings):
            assert len({tuple(point) for point in ring.tolist()}) == len(ring) >= 4
            (x, y), (next_x, next_y) = ring.T, np.roll(ring, -1, axis=0).T
            area = (x * next_y - next_x * y).sum() / 2
            assert (area > 0) == (place == 0)
            total += area
    assert total == mask_HW.sum()


@pytest.mark.parametrize("text", TOUCHING)
def test_what_touches_in_a_corner_comes_back(text):
    mask_HW = drawn(text)
    assert np.array_equal(filled(areas(run_lengths(mask_HW), *mask_HW.shape), mask_HW.shape), mask_HW)


def test_a_part_has_its_own_holes():
    island = drawn("##### #...# #.#.# #...# #####")
    assert [len(rings) for rings in areas(run_lengths(island), 5, 5)] == [2, 1]
    assert [len(rings) for rings in areas(run_lengths(drawn(".#. #.# .#.")), 3, 3)] == [1, 1, 1, 1]
