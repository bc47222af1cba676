"""Recall, image by image, is what COCOeval says of all images at once."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.masks import run_lengths

from sam_batch.evaluate.recall import SIZES, Mask, Recall

SIZE = (150, 160)


def rectangle(box):
    y, x, height, width = box
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return run_lengths(mask), int(mask.sum())


boxes = st.tuples(
    st.sampled_from([0, 3, 20]), st.sampled_from([0, 2, 25]), *[st.sampled_from([5, 30, 34, 90, 110])] * 2
)
found = st.builds(lambda box, score: Mask(*rectangle(box), score), boxes, st.sampled_from([0.1, 0.5, 0.9]))
true = st.builds(lambda box, crowd: Mask(*rectangle(box), is_crowd=crowd), boxes, st.sampled_from([False, False, True]))
images = st.lists(st.tuples(st.lists(found, max_size=8), st.lists(true, max_size=5)), min_size=1, max_size=4)


@settings(max_examples=25)
@given(images)
def test_recall_is_that_of_cocoeval_over_all_images(given_images):
    recall = Recall(most=(2, 4, 1000))
    for masks, truth in given_images:
        recall.add(masks, truth, SIZE)
    expected = by_hand(given_images, [2, 4, 1000])
    assert recall.average() == {size: pytest.approx(values) for size, values in expected.items()}


def by_hand(given_images, most):
    """COCOeval called once, as its documentation calls it."""
    listed = [{"id": number, "height": SIZE[0], "width": SIZE[1]} for number, _ in enumerate(given_images, 1)]

    def annotations(side):
        numbered = [(number, mask) for number, pair in enumerate(given_images, 1) for mask in pair[side]]
        return [
            {
                "id": place,
                "image_id": number,
                "category_id": 1,
                "area": mask.area,
                "score": mask.score,
                "segmentation": {"size": list(SIZE), "counts": mask.counts},
                "iscrowd": int(mask.is_crowd),
            }
            for place, (number, mask) in enumerate(numbered, 1)
        ]

    with contextlib.redirect_stdout(io.StringIO()):
        truth, results = COCO(), annotations(0)
        truth.dataset = {"info": {}, "images": listed, "categories": [{"id": 1}], "annotations": annotations(1)}
        truth.createIndex()
        if not results:  # loadRes takes no empty list
            there = [one for one in annotations(1) if not one["iscrowd"]]
            inside = {size: [low <= one["area"] <= high for one in there] for size, (low, high) in SIZES.items()}
            return {size: dict.fromkeys(most, 0.0 if any(inside[size]) else None) for size in SIZES}
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.params.maxDets = most
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"][:, 0].mean(axis=0)  # over thresholds; areas by counts of masks
    return {
        size: {count: None if recall[row, place] < 0 else recall[row, place] for place, count in enumerate(most)}
        for row, size in enumerate(SIZES)
    }


def test_sizes_are_those_of_pycocotools():
    parameters = COCOeval(iouType="segm").params
    assert {label: tuple(area) for label, area in zip(parameters.areaRngLbl, parameters.areaRng, strict=True)} == SIZES
    assert coco_mask.area({"size": list(SIZE), "counts": rectangle((0, 0, 5, 5))[0]}) == 25


def test_without_true_objects_there_is_nothing_to_recall():
    recall = Recall()
    recall.add([Mask(*rectangle((0, 0, 5, 5)))], [], SIZE)
    assert recall.average()["all"] == {10: None, 100: None, 1000: None}
