"""A few photographs, and one Ray for all tests that need one in this process: to start it takes seconds."""

import os
from functools import partial

import pytest
from support.jobs import FATAL_WIDTH, draw_photographs

from sam_batch.job.ray import cluster


@pytest.fixture
def photos(tmp_path):
    draw_photographs(tmp_path / "photos", 6)
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture(scope="session")
def ray_here():
    """What the Ray of this machine has to offer: it believes in a GPU. Jobs find it and use it."""
    fatal = FATAL_WIDTH  # workers know nothing of the tests: what they are given brings all with it

    def die_of_one_width():
        from sam_batch.output import render

        draw = render.color_mask

        def color_mask(image, masks, height, width, *how):
            return os._exit(1) if width == fatal else draw(image, masks, height, width, *how)

        render.color_mask = color_mask

    with cluster.environment(verbose=False, is_local=True):  # read as Ray is imported
        import ray

        options = {"num_gpus": 1, "runtime_env": {"worker_process_setup_hook": die_of_one_width}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ray, "init", partial(ray.init, **options))
            with cluster.connected() as resources:
                yield resources
