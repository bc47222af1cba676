"""An image's views are the same from another process as from this one; so is the reason where there are none."""

import pickle
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpus import MAX_PIXELS, corpus
from support.jobs import job_config
from support.kinds.geotiffs import GEOTIFFS
from support.kinds.tiffs import TIFFS

from sam_batch.data.sandbox import Sandbox
from sam_batch.job.decode import Cut, Settings, decode
from sam_batch.records import Failure, FailureKind, PixelNote, Stage
from sam_batch.segment.algorithm import views_of

FILES = {name: data for name, (data, _) in corpus().items()} | {kind.name: kind.data() for kind in (*TIFFS, *GEOTIFFS)}
FILES = {name: data for name, data in FILES.items() if len(data) < 20_000}
LIMITS = {"seconds": 50, "memory": 1 << 30, "grant": lambda size: 1 << 30}


def made(prompted=False, **sections):
    config = job_config("in", "out", input={"uri": "in", "max_pixels": MAX_PIXELS}, **sections)
    return pickle.dumps(Settings(config, views_of(config, prompted=prompted), 32))


PLAIN = made()


@pytest.fixture(scope="module")
def sandbox():
    with closing(Sandbox("sam_batch.job.decode:decode")) as sandbox:
        yield sandbox


def here(data, settings=PLAIN):
    sizes = []
    return decode(data, settings, reserve=sizes.append).image, sizes


def as_values(answer):
    """Equal for equal answers: arrays as bytes."""
    if isinstance(answer, Failure):
        return answer
    return answer._replace(
        views=[(view.box, view.layer, view.pixels.shape, view.pixels.tobytes()) for view in answer.views]
    )


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    keep=st.just(1.0) | st.floats(0.05, 1),
)
def test_whatever_the_bytes_are_both_say_the_same(sandbox, name, changes, keep):
    data = bytearray(FILES[name])
    for position, value in changes if data else ():
        data[int(position * len(data))] = value
    file = bytes(data[: int(len(data) * keep)])
    answer = sandbox.call(pickle.PickleBuffer(file), PLAIN, **LIMITS)
    assert as_values(answer.image) == as_values(here(file)[0])


def test_size_orientation_and_notes_come_with_the_views():
    image, sizes = here(corpus()["jpeg_orientation_6.jpg"][0])
    assert isinstance(image, Cut)
    assert (image.height, image.width, image.orientation, image.notes) == (48, 32, 6, ())
    assert [view.pixels.shape for view in image.views] == [(32, 21, 3)]
    assert sizes == [(48 * 32, 3)]
    assert here(corpus()["png_apng.png"][0])[0].notes == (PixelNote.PAGES_DROPPED,)


@pytest.mark.parametrize(("prompted", "views"), [(False, 5), (True, 1)])
def test_images_that_carry_prompts_are_looked_at_as_a_whole(prompted, views):
    crops = made(prompted, generator={"points_per_side": 3, "crop_n_layers": 1})
    assert len(here(corpus()["jpeg.jpg"][0], crops)[0].views) == views


def test_a_file_that_is_no_image_is_told_as_a_failure():
    assert here(b"no image")[0] == Failure(Stage.LOAD, FailureKind.NOT_AN_IMAGE, "not an image")
