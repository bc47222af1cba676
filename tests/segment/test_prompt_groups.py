import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide
from support.blobs import LOW, SIDE, BlobEngine
from support.masks import run_lengths
from support.pictures import picture

from sam_batch.masks.geometry import resize_longest
from sam_batch.records import Prompt, View
from sam_batch.segment.prompt_groups import Shape, by_shape, to_engine

VIEW = View((0, 0, 97, 61), resize_longest(picture(61, 97), SIDE))
POINTS = {"points": ((1.3, 2.7), (55.1, 33.3)), "labels": (1, 0)}
BOX = {"box": (3.1, 4.2, 50.5, 30.9)}
LOGITS = np.random.default_rng(0).normal(size=(LOW, LOW)).astype(np.float32)


def given(*prompts):
    return to_engine([Prompt(**parts) for parts in prompts], VIEW, BlobEngine.spec)


@pytest.mark.parametrize(
    ("parts", "shape"),
    [
        ({}, Shape(0, False, False)),
        (POINTS | BOX, Shape(2, True, False)),
        ({"points": ((1, 2), (0, 0)), "labels": (1, -1)}, Shape(1, False, False)),
        ({"logits": LOGITS.tobytes()}, Shape(0, False, True)),
    ],
)
def test_a_shape_is_the_number_of_points_and_which_parts_there_are(parts, shape):
    assert Shape.of(Prompt(**parts)) == shape


def test_groups_keep_their_order():
    prompts = [Prompt(**parts) for parts in (POINTS, BOX, POINTS, {}, BOX)]
    assert by_shape([0, 1, 2, 4], prompts) == [[0, 2], [1, 4]]


def test_positions_are_those_of_sam_predictor_to_the_bit():
    transform, size = ResizeLongestSide(SIDE), (61, 97)
    prompts = given(POINTS | BOX)
    expected = torch.as_tensor(transform.apply_coords(np.array([POINTS["points"]]), size), dtype=torch.float)
    assert torch.equal(prompts.points, expected)
    assert prompts.labels.tolist() == [[1, 0]]
    boxes = transform.apply_boxes(np.array([BOX["box"]]), size)
    assert torch.equal(prompts.boxes, torch.as_tensor(boxes, dtype=torch.float))


def test_points_that_are_none_are_left_out():
    padded = {"points": (*POINTS["points"], (0.0, 0.0)), "labels": (1, 0, -1)}
    assert torch.equal(given(padded).points, given(POINTS).points)


def test_logits_are_taken_as_they_are_and_masks_brought_to_their_frame():
    mask = run_lengths(np.ones((61, 97), dtype=bool))
    masks = given({"logits": LOGITS.tobytes()}, {"mask": mask}).masks
    assert masks.shape == (2, 1, LOW, LOW)
    assert np.array_equal(masks[0, 0], LOGITS)
    assert masks[1, 0, 0, 0] > 0 > masks[1, 0, -1, -1]


def test_prompts_without_parts_are_counted():
    assert len(given({}, {})) == 2
