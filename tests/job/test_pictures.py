"""Which pictures a shard gets, and where."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from support.jobs import job_config
from support.results import failed, random_masks, result_of

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import StorageError
from sam_batch.job.pictures import is_drawn, write_pictures
from sam_batch.job.spec import JobSpec
from sam_batch.records import FailureKind, Stage, Status

OFF = {"enabled": False}


@pytest.fixture
def output(tmp_path):
    return Storage(str(tmp_path), StorageConfig())


def photograph(width=8, height=6):
    data = io.BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(data, "PNG")
    return data.getvalue()


def two_images():
    return [(result_of("b/a.png", random_masks(6, 8, 2)), photograph()), (failed("c.png", 1), b"")]


def written(output, segmented=None, again=False, **settings):
    config = job_config("photos", output.root, output={"uri": output.root, **settings})
    job = JobSpec(config, FAKE, FakeChoice())
    results = write_pictures(segmented or two_images(), 3, job, output, again=again)
    return results, sorted(entry.key for entry in output.list())


def test_an_image_gets_its_picture_and_a_cutout_a_mask_and_a_failed_one_nothing(output):
    _, names = written(output)
    assert names == ["color_masks/b/a.png.png", "segments/b/a.png/0.png", "segments/b/a.png/1.png"]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"color_masks": OFF, "segments": OFF}, []),
        ({"color_masks": OFF, "segments": OFF, "label_masks": {"enabled": True}}, ["label_masks/b/a.png.png"]),
        ({"color_masks": {"over_image": False}, "segments": OFF}, ["color_masks/b/a.png.png"]),
        ({"color_masks": {"format": "jpeg"}, "segments": OFF}, ["color_masks/b/a.png.jpg"]),
    ],
    ids=str,
)
def test_only_what_is_enabled_is_written(output, settings, names):
    assert written(output, **settings)[1] == names


def test_packed_cutouts_lie_in_one_tar_a_shard(output):
    _, names = written(output, segments={"pack": "tar"})
    assert names == ["color_masks/b/a.png.png", "segments/shard-00003.tar"]
    with tarfile.open(fileobj=io.BytesIO(output.read("segments/shard-00003.tar"))) as tar:
        assert tar.getnames() == ["b/a.png/0.png", "b/a.png/1.png"]


def test_images_that_are_done_again_leave_the_others_in_the_tar(output):
    packed = {"segments": {"pack": "tar"}}
    later = (result_of("c.png", random_masks(6, 8, 1), 7), photograph())
    written(output, **packed)
    written(output, [later], again=True, **packed)
    written(output, [(result_of("b/a.png", random_masks(6, 8, 1), 0), photograph())], again=True, **packed)
    with tarfile.open(fileobj=io.BytesIO(output.read("segments/shard-00003.tar"))) as tar:
        assert tar.getnames() == ["c.png/0.png", "b/a.png/0.png"]


def test_a_damaged_tar_is_named(output):
    output.write("segments/shard-00003.tar", b"")
    with pytest.raises(StorageError, match=r"segments/shard-00003.tar: is damaged"):
        written(output, again=True, segments={"pack": "tar"})


def test_a_shard_without_a_tar_gets_one_when_its_images_are_done_again(output):
    assert "segments/shard-00003.tar" in written(output, again=True, segments={"pack": "tar"})[1]


def test_masks_lie_on_the_image_or_on_black(output):
    for over_image, background in ((True, [200, 100, 50]), (False, [0, 0, 0])):
        masks = np.zeros((6, 8), bool)
        masks[2:4, 2:4] = True
        written(output, [(result_of("a.png", [masks]), photograph())], color_masks={"over_image": over_image})
        picture = np.asarray(Image.open(io.BytesIO(output.read("color_masks/a.png.png"))))
        assert picture[0, 0].tolist() == background
        assert picture[2, 2].tolist() != background


def test_an_image_that_cannot_be_drawn_fails_and_leaves_its_neighbours(output):
    broken = (result_of("broken.png", random_masks(6, 8, 1), 2), photograph()[:40])
    results, names = written(output, [*two_images(), broken])
    assert [result.status for result in results] == [Status.OK, Status.FAILED, Status.FAILED]
    assert (results[2].failure.stage, results[2].failure.kind) == (Stage.WRITE, FailureKind.TRUNCATED)
    assert (results[2].height, results[2].width, results[2].sha256) == (6, 8, "0" * 64)
    assert "color_masks/b/a.png.png" in names


@pytest.mark.parametrize("segments", [{}, {"min_area": 9}, {"pack": "tar"}], ids=str)
def test_an_image_is_drawn_when_all_its_pictures_are_there(output, segments):
    settings = {"segments": segments, "label_masks": {"enabled": True}}
    (image, _), keys = written(output, **settings)
    wanted = job_config("photos", output.root, output=settings).output
    for key in keys:
        assert is_drawn(image, 3, wanted, output)
        data = output.read(key)
        output.delete(key)
        assert not is_drawn(image, 3, wanted, output)
        output.write(key, data)


def test_a_failed_image_has_no_pictures_to_lack(output):
    assert is_drawn(failed("c.png", 1), 3, job_config("photos", output.root).output, output)
