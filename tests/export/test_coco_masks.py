"""Masks are spelt as Python's own encoder spells them, however many are put together at once."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.results import random_masks, result_of

from sam_batch.export.coco_files import BETWEEN
from sam_batch.export.coco_masks import json_of_masks
from sam_batch.export.numbers import Numbers
from sam_batch.output.schema import ANNOTATION_SCHEMA, results_to_table

SQUARES = random_masks(4, 4, 3)


def texts_of(*mask_counts, **columns):
    """Of images with so many masks, each with these columns."""
    results = [
        result_of(f"{image}.jpg", [SQUARES[0]] * count, image, (4, 4)) for image, count in enumerate(mask_counts)
    ]
    rows = results_to_table(results, {}).to_pylist()
    rows = [{**row, "masks": [mask | columns for mask in row["masks"]]} for row in rows]
    return [bytes(text) for text in json_of_masks(pa.Table.from_pylist(rows, ANNOTATION_SCHEMA), Numbers(), "rle")]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_numbers_are_spelt_as_python_does(numbers):
    (text,) = texts_of(1, bbox=numbers, crop_box=[1.0, 2.5, 0.0, -3.0], point_coords=[numbers[:2], numbers[2:]])
    assert f'"bbox":{numbers},"iscrowd"' in text.decode()
    assert f'"point_coords":{[numbers[:2], numbers[2:]]},"crop_box":[1.0, 2.5, 0.0, -3.0]}}' in text.decode()


@given(st.floats(0, 1, width=32))
def test_scores_are_the_shortest_numbers_that_are_the_same_in_float32(score):
    (mask,) = map(json.loads, texts_of(1, predicted_iou=score))
    assert np.float32(mask["predicted_iou"]) == np.float32(score)
    assert len(repr(mask["predicted_iou"])) <= len(repr(score))


@pytest.mark.parametrize("counts", [(), (0,), (0, 0), (2, 0, 3), (0, 1500, 0, 700, 1)])
def test_every_image_has_its_masks_and_no_others(counts):
    masks = [json.loads(b"[" + text + b"]") for text in texts_of(*counts)]
    assert [[mask["image_id"] for mask in of_image] for of_image in masks] == [
        [image] * count for image, count in enumerate(counts, start=1)
    ]


def test_masks_stand_apart_by_what_stands_between_images():
    (text,) = texts_of(3)
    assert [json.loads(one)["image_id"] for one in text.split(BETWEEN)] == [1, 1, 1]
