import subprocess
import sys

import numpy as np
from support.pictures import picture

from sam_batch.config import GeneratorConfig
from sam_batch.masks.geometry import resize_longest
from sam_batch.segment.views import crop_views, cut_views, whole_view


def test_the_whole_image_comes_first_then_its_crops():
    image = picture(60, 100)
    boxes = crop_views((60, 100), GeneratorConfig(crop_n_layers=1))
    views = cut_views(image, boxes, 128)
    assert [(view.box, view.layer) for view in views] == boxes
    assert [view.layer for view in views] == [0, 1, 1, 1, 1]
    assert views[0].box == (0, 0, 100, 60)
    assert len(views) == 5
    for view in views:
        x0, y0, x1, y1 = view.box
        assert max(view.view_hw) == 128
        assert view.crop_hw == (y1 - y0, x1 - x0)
        assert np.array_equal(view.pixels, resize_longest(image[y0:y1, x0:x1], 128))


def test_crops_of_one_pixel_without_a_pixel_are_left_out():
    boxes = crop_views((1, 1), GeneratorConfig(crop_n_layers=2))
    assert {box for box, _ in boxes} == {(0, 0, 1, 1)}


def test_the_whole_view_is_the_first_of_the_crops():
    assert whole_view((60, 100)) == crop_views((60, 100), GeneratorConfig())


def test_loading_workers_do_without_torch():
    check = "import sys, sam_batch.segment.algorithm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
