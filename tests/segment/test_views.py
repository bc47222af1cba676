import subprocess
import sys

import numpy as np
from support.pictures import picture

from sam_batch.config import GeneratorConfig
from sam_batch.masks.geometry import resize_longest
from sam_batch.segment.views import cut_views, view_boxes


def test_the_whole_image_comes_first_then_its_crops():
    image = picture(60, 100)
    views = cut_views(image, GeneratorConfig(crop_n_layers=1), 128)
    assert [one.box for one in views] == [box for box, _ in view_boxes((60, 100), GeneratorConfig(crop_n_layers=1))]
    assert views[0].box == (0, 0, 100, 60)
    assert len(views) == 5
    for view in views:
        x0, y0, x1, y1 = view.box
        assert max(view.pixels.shape) == 128
        assert np.array_equal(view.pixels, resize_longest(image[y0:y1, x0:x1], 128))


def test_crops_of_one_pixel_without_a_pixel_are_left_out():
    views = cut_views(picture(1, 1), GeneratorConfig(crop_n_layers=2), 64)
    assert {one.box for one in views} == {(0, 0, 1, 1)}


def test_loading_workers_do_without_torch():
    check = "import sys, sam_batch.segment.views; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
