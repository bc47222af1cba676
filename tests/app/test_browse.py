"""Results page by page: each image once, in the plan's order, with what became of it."""

import pytest
from support.jobs import draw_photographs, job_config, run

from sam_batch.app import browse
from sam_batch.app.browse import read_page
from sam_batch.config import StorageConfig
from sam_batch.errors import OutputError

STORAGE = StorageConfig()
HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Six images in three shards: one of them failed, one is gone."""
    folder = tmp_path_factory.mktemp("browse")
    draw_photographs(folder / "photos", 5)
    (folder / "photos" / "001.jpg").rename(folder / "photos" / HOSTILE)
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    run(job_config(folder / "photos", folder / "out", run={"shard_size": 2, "max_failure_rate": 1.0}))
    (folder / "photos" / "004.jpg").unlink()
    return str(folder / "out")


@pytest.mark.parametrize("size", [1, 4, 6, 12])
def test_pages_hold_every_image_once(output, monkeypatch, size):
    monkeypatch.setattr(browse, "PAGE", size)
    pages = [read_page(output, STORAGE, number) for number in range(-(-6 // size))]
    names = [image.key for page in pages for image in page.shown]
    assert names == sorted(["000.jpg", HOSTILE, "002.jpg", "003.jpg", "004.jpg", "broken.jpg"])
    assert {(page.pages, page.images) for page in pages} == {(len(pages), 6)}


def test_a_page_reads_only_the_parts_it_shows(output, monkeypatch):
    monkeypatch.setattr(browse, "PAGE", 2)
    read, parts = [], browse.Output.parts
    monkeypatch.setattr(
        browse.Output, "parts", lambda self, plan, shards: read.append(shards) or parts(self, plan, shards)
    )
    read_page(output, STORAGE, 1)
    assert read == [{1}]


def test_each_image_says_what_became_of_it(output):
    shown = {image.key: image for image in read_page(output, STORAGE).shown}
    assert shown["broken.jpg"].told.startswith("failed, truncated: ")
    assert shown["broken.jpg"].picture is None
    assert shown["004.jpg"].told.endswith("masks, the photograph is gone")
    assert shown["000.jpg"].picture != shown["004.jpg"].picture
    assert shown["000.jpg"].picture.startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(("asked", "number"), [(-1, 0), (99, 0)])
def test_a_page_that_is_not_there_is_the_nearest(output, asked, number):
    assert read_page(output, STORAGE, asked).number == number


def test_an_output_without_a_row_has_one_empty_page(tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    out = tmp_path / "out"
    run(job_config(tmp_path / "photos", out))
    next((out / "annotations").iterdir()).unlink()
    page = read_page(str(out), STORAGE)
    assert (page.pages, page.images, page.shown) == (1, 0, [])


def test_a_folder_that_is_no_output_is_refused(tmp_path):
    with pytest.raises(OutputError, match="holds no plan of a job"):
        read_page(str(tmp_path), STORAGE)
