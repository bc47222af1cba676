"""Polygons give the mask back, by the rule of whoever fills them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from pycocotools import mask as coco
from support.results import random_masks

from sam_batch.masks import rle
from sam_batch.masks.patch import Patch
from sam_batch.masks.polygons import center_polygons, edge_polygons, run_lengths_of

masks = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda shape: nps.arrays(np.bool_, shape))


def counts_of(mask_HW):
    return rle.encode_patch(Patch.of(mask_HW), *mask_HW.shape)


def filled_by_coco(mask_HW):
    height, width = mask_HW.shape
    rings = [ring.ravel().tolist() for ring in edge_polygons(counts_of(mask_HW), height, width)]
    return coco.decode(coco.merge(coco.frPyObjects(rings, height, width))).astype(bool)


def filled_by_opencv(mask_HW):
    canvas_HW = np.zeros(mask_HW.shape, np.uint8)
    for ring in center_polygons(counts_of(mask_HW), *mask_HW.shape):
        cv2.fillPoly(canvas_HW, [ring.astype(np.int32)], 1)
    return canvas_HW.astype(bool)


def drawn(text):
    return np.array([[pixel == "#" for pixel in line.strip()] for line in text.split()])


DIFFICULT = {
    "one pixel": "#",
    "one row": "####",
    "one column": "# # #",
    "a hole": "### #.# ###",
    "two holes in a row": "##### #.#.# #####",
    "holes that touch in a corner": "#### #.## ##.# ####",
    "an island in a hole": "##### #...# #.#.# #...# #####",
    "parts that touch in a corner": "##.. ##.. ..## ..##",
    "a checker board": "#.#. .#.# #.#. .#.#",
    "a comb": "#.#.# #.#.# #####",
    "a frame": "#### #..# #..# ####",
    "a diagonal": "#.. .#. ..#",
}


@settings(max_examples=300)
@given(mask_HW=masks.filter(np.any))
def test_edges_give_any_mask_back_in_pycocotools(mask_HW):
    assert np.array_equal(filled_by_coco(mask_HW), mask_HW)


@settings(max_examples=300)
@given(mask_HW=masks.filter(np.any))
def test_centers_give_any_mask_back_in_opencv(mask_HW):
    assert np.array_equal(filled_by_opencv(mask_HW), mask_HW)


@pytest.mark.parametrize("text", DIFFICULT.values(), ids=DIFFICULT)
def test_difficult_masks_come_back_from_both(text):
    mask_HW = drawn(text)
    assert np.array_equal(filled_by_coco(mask_HW), mask_HW)
    assert np.array_equal(filled_by_opencv(mask_HW), mask_HW)


def test_large_masks_come_back_from_both():
    for mask_HW in random_masks(400, 300, 20, seed=1):
        holed_HW = mask_HW & (np.random.default_rng(0).random(mask_HW.shape) > 0.02)
        assert np.array_equal(filled_by_coco(holed_HW), holed_HW)
        assert np.array_equal(filled_by_opencv(holed_HW), holed_HW)


@given(mask_HW=masks)
def test_each_part_is_one_ring_and_whole_numbers_but_for_bridges(mask_HW):
    parts = cv2.connectedComponents(mask_HW.astype(np.uint8), connectivity=8)[0] - 1
    rings = edge_polygons(counts_of(mask_HW), *mask_HW.shape)
    assert len(rings) == len(center_polygons(counts_of(mask_HW), *mask_HW.shape)) == parts
    assert all(len(ring) >= 4 and np.array_equal(ring[:, 0], np.rint(ring[:, 0])) for ring in rings)


def test_a_rectangle_has_four_corners():
    mask_HW = np.zeros((5, 6), bool)
    mask_HW[1:3, 2:6] = True
    assert edge_polygons(counts_of(mask_HW), 5, 6)[0].tolist() == [[6, 1], [6, 3], [2, 3], [2, 1]]
    assert center_polygons(counts_of(mask_HW), 5, 6)[0].tolist() == [[2, 1], [5, 1], [5, 2], [2, 2]]


@given(mask_HW=masks)
def test_run_lengths_are_those_of_the_mask(mask_HW):
    lengths = run_lengths_of(counts_of(mask_HW))
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    assert np.array_equal(flat.reshape(mask_HW.shape, order="F"), mask_HW)
