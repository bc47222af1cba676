import numpy as np
import pytest

from sam_batch.library.prompt_arrays import to_prompts
from sam_batch.records import Prompt

LOGITS = np.ones((2, 4, 4), np.float32)


def asked(points=None, labels=None, boxes=None, masks=None):
    return to_prompts(points, labels, boxes, masks)


@pytest.mark.parametrize("points", [(1, 2), [(1, 2)], np.array([1, 2]), [[(1, 2)]], np.array([[[1.0, 2.0]]])])
def test_one_point_is_one_object_however_it_is_written(points):
    assert asked(points) == [Prompt(((1.0, 2.0),), (1,))]


def test_several_points_are_one_object_and_another_axis_several():
    assert asked([(1, 2), (3, 4)], [1, 0]) == [Prompt(((1.0, 2.0), (3.0, 4.0)), (1, 0))]
    assert asked([[(1, 2)], [(3, 4)]], [[1], [0]]) == [Prompt(((1.0, 2.0),), (1,)), Prompt(((3.0, 4.0),), (0,))]


def test_objects_may_have_different_numbers_of_points():
    assert [len(prompt.points) for prompt in asked([np.zeros((1, 2)), np.zeros((3, 2))])] == [1, 3]


def test_boxes_stand_beside_points():
    assert asked([[(1, 2)], [(3, 4)]], boxes=[(0, 0, 5, 6), (1, 1, 7, 8)])[1] == Prompt(
        ((3.0, 4.0),), (1,), (1.0, 1.0, 7.0, 8.0)
    )
    assert asked(boxes=(0, 0, 5, 6)) == [Prompt(box=(0.0, 0.0, 5.0, 6.0))]


def test_masks_are_logits_or_of_the_images_size_and_one_serves_all():
    assert [prompt.logits for prompt in asked(masks=LOGITS)] == [LOGITS[0].tobytes()] * 2
    both = asked(boxes=[(0, 0, 5, 6)] * 3, masks=np.ones((5, 7), dtype=bool))
    assert [prompt.mask for prompt in both] == ["0S1"] * 3


def test_nothing_is_one_prompt():
    assert asked() == [Prompt()]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"labels": [1]}, "labels are given without points"),
        ({"points": [[(1, 2)], [(3, 4)]], "labels": [[1]]}, "points are of 2 objects, labels of 1"),
        ({"points": (1, 2), "boxes": [(0, 0, 5, 6)] * 2}, "of as many objects each"),
        ({"boxes": (1, 2, 3)}, r"boxes should be \(4,\)"),
        ({"masks": np.ones(4)}, r"masks should be \(h, w\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, reason):
    with pytest.raises(ValueError, match=reason):
        asked(**parts)
