"""Colours are told apart, and those of old outputs stay."""

import itertools
import json

import numpy as np
import pytest
from support.farthest_points import farthest_points, lab

from sam_batch.output.palette import color, colors_of, golden_hue

TABLE = [color(mask_id) for mask_id in range(256)]


def smallest_distance(colors):
    return min(np.linalg.norm(one - other) for one, other in itertools.combinations(lab(colors), 2))


@pytest.mark.parametrize(("count", "distance"), [(50, 24), (256, 11)])
def test_colours_are_far_from_each_other(count, distance):
    assert smallest_distance(TABLE[:count]) >= distance


def test_the_table_is_what_its_program_makes():
    assert np.array_equal(TABLE, farthest_points())


def test_after_the_last_colour_comes_the_first():
    assert [color(mask_id) for mask_id in (256, 300)] == [TABLE[0], TABLE[44]]


def test_an_output_that_was_planned_before_the_table_keeps_its_hues():
    assert colors_of({"output.color_masks.enabled": "true"}) is golden_hue
    assert [golden_hue(mask_id) for mask_id in (0, 5)] == [(255, 25, 25), (191, 134, 67)]


@pytest.mark.parametrize("fingerprint", [{}, {"output.color_masks.opacity": json.dumps(0.55)}])
def test_a_new_output_has_the_colours_of_the_table(fingerprint):
    assert colors_of(fingerprint) is color
