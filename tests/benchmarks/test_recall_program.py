"""Truth and recall on scenes that are written by hand; the tiny steps of `benchmarks.gpu` run the program."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from benchmarks.recall import average_recall, regions
from training.scenes import BACKGROUNDS, BEHIND

BODY, MARK = BACKGROUNDS + BEHIND, BACKGROUNDS + BEHIND + 1


def scene(mark):
    """A body of 40 x 20 pixels with a mark on it, on one background."""
    top = torch.zeros(64, 64, dtype=torch.uint8)
    top[10:30, 10:50] = BODY
    top[12:28, 20 : 20 + mark] = MARK
    return regions(top)


def rectangle(width):
    pixels = np.zeros((64, 64), np.uint8, order="F")
    pixels[10:30, 10 : 10 + width] = 1
    return coco.encode(pixels)


def test_each_region_of_a_part_a_body_and_an_object_is_there_once():
    areas = sorted(int(coco.area(one)) for one in scene(mark=10))
    assert areas == [160, 40 * 20 - 160, 40 * 20, 64 * 64 - 40 * 20]


def test_small_regions_are_not_asked_for():
    assert len(scene(mark=2)) == 2  # the mark has 32 pixels, and the body without it is the body


@pytest.mark.parametrize(("width", "points"), [(40, 100.0), (30, 60.0), (20, 10.0), (10, 0.0)])
def test_recall_is_averaged_over_thresholds(width, points):
    assert average_recall([rectangle(width)], [rectangle(40)]) == pytest.approx(points)


def test_without_masks_nothing_is_recalled():
    assert average_recall([], [rectangle(40)]) == 0.0
