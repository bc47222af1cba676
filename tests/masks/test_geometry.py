import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from segment_anything.utils import amg
from segment_anything.utils.transforms import ResizeLongestSide
from support.pictures import picture

from sam_batch.masks.geometry import near_crop_edge, points_to_view, resize_longest, view_shape

sides = st.integers(1, 400)


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([64, 128, 1024]))
def test_a_view_has_the_references_shape_and_at_least_one_pixel(height, width, side):
    theirs = ResizeLongestSide.get_preprocess_shape(height, width, side)
    assert view_shape(height, width, side) == (max(1, theirs[0]), max(1, theirs[1]))


@given(sides, sides, st.sampled_from([16, 100, 256]), st.integers(0, 9))
def test_resizing_gives_the_references_pixels(height, width, side, seed):
    assume(0 not in ResizeLongestSide.get_preprocess_shape(height, width, side))
    image = picture(height, width, seed)
    assert np.array_equal(resize_longest(image, side), ResizeLongestSide(side).apply_image(image))


def test_resizing_takes_a_crop_that_is_a_slice():
    image = picture(90, 120)
    crop = image[10:50, 30:70]
    assert np.array_equal(resize_longest(crop, 64), resize_longest(crop.copy(), 64))


def test_resizing_keeps_a_pixel_of_a_thin_image():
    assert resize_longest(picture(1, 900), 128).shape == (1, 128, 3)


@given(sides, sides, st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400)), min_size=1, max_size=5))
def test_points_move_to_the_view_as_the_references_do(height, width, points):
    view = ResizeLongestSide.get_preprocess_shape(height, width, 1024)
    ours = points_to_view(np.array(points), (height, width), view)
    assert np.array_equal(ours, ResizeLongestSide(1024).apply_coords(np.array(points), (height, width)))


@given(st.data())
def test_boxes_are_near_a_crops_edge_where_the_reference_says_so(data):
    height, width = 300, 200
    x0, x1 = sorted(data.draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(data.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    left, right = sorted(data.draw(st.tuples(st.integers(x0, x1), st.integers(x0, x1))))
    top, bottom = sorted(data.draw(st.tuples(st.integers(y0, y1), st.integers(y0, y1))))
    in_crop = torch.tensor([[left - x0, top - y0, right - x0, bottom - y0]])
    theirs = amg.is_box_near_crop_edge(in_crop, [x0, y0, x1, y1], [0, 0, width, height])
    assert near_crop_edge((left, top, right, bottom), (x0, y0, x1, y1), (height, width)) == theirs.item()


def test_nothing_is_near_an_edge_of_the_whole_image():
    assert not near_crop_edge((0, 0, 99, 49), (0, 0, 100, 50), (50, 100))
