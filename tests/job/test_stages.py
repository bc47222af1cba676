"""Load, segment and write, one shard at a time."""

import hashlib
import io

import pyarrow as pa
import pytest
from PIL import Image
from support.jobs import draw_photographs, job_config, rows

from sam_batch.data import schema
from sam_batch.engine.choice import EngineChoice
from sam_batch.errors import EngineError, StorageError
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Segmenter, Ticket, load, write
from sam_batch.model.names import FAKE
from sam_batch.records import FailureKind, ImageResult, LoadedImage, Stage, Status


@pytest.fixture
def job(tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    return spec(tmp_path)


def spec(tmp_path, **sections):
    config = job_config(tmp_path / "photos", tmp_path / "out", **sections)
    return JobSpec(config, FAKE, EngineChoice("fake", "fp32", "cpu"))


def shard(tmp_path, *names):
    planned = [
        {"shard": 7, "image_id": number, "key": name, "uri": str(tmp_path / "photos" / name)}
        for number, name in enumerate(names)
    ]
    return pa.Table.from_pylist(planned, schema=schema.PLAN_SCHEMA)


def test_loading_gives_views_at_the_models_side_and_the_encoded_bytes(job, tmp_path):
    (image,) = schema.table_to_loaded(load(shard(tmp_path, "000.jpg"), job))
    data = (tmp_path / "photos/000.jpg").read_bytes()
    assert isinstance(image, LoadedImage)
    assert (image.height, image.width, image.data) == (48, 64, data)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert [(view.box, view.pixels.shape) for view in image.views] == [((0, 0, 64, 48), (192, 256, 3))]


def test_crops_are_cut_where_they_are_asked_for(tmp_path, job):
    job = spec(tmp_path, generator={"points_per_side": 3, "crop_n_layers": 1})
    (image,) = schema.table_to_loaded(load(shard(tmp_path, "000.jpg"), job))
    assert len(image.views) == 5


def test_an_image_that_does_not_load_keeps_its_place_and_its_reason(job, tmp_path):
    (tmp_path / "photos/bad.jpg").write_bytes(b"no image")
    first, bad, gone, last = schema.table_to_loaded(
        load(shard(tmp_path, "000.jpg", "bad.jpg", "gone.jpg", "001.jpg"), job)
    )
    assert isinstance(first, LoadedImage)
    assert isinstance(last, LoadedImage)
    assert isinstance(bad, ImageResult)
    assert [one.failure.kind for one in (bad, gone)] == [FailureKind.NOT_AN_IMAGE, FailureKind.NOT_FOUND]
    assert bad.failure.stage is Stage.LOAD


def test_segmenting_leaves_the_pixels_behind_and_carries_the_ticket(job, tmp_path):
    table = Segmenter(job)(load(shard(tmp_path, "000.jpg", "001.jpg"), job))
    assert "views" not in table.column_names
    assert [result.status for result in schema.table_to_results(table)] == [Status.OK, Status.OK]
    ticket = Ticket.of(table)
    assert ticket.shard == 7
    assert min(ticket.load_seconds, ticket.segment_seconds) > 0


def test_an_image_without_masks_is_empty_and_not_failed(job, tmp_path):
    black = io.BytesIO()
    Image.new("RGB", (20, 10)).save(black, "PNG")
    (tmp_path / "photos/black.png").write_bytes(black.getvalue())
    (result,) = schema.table_to_results(Segmenter(job)(load(shard(tmp_path, "black.png"), job)))
    assert (result.status, result.height, result.width, result.annotations) == (Status.EMPTY, 10, 20, ())


def test_a_broken_engine_raises_instead_of_failing_images(job, tmp_path, monkeypatch):
    segmenter = Segmenter(job)

    def broken(*arguments):
        raise EngineError("gone")

    monkeypatch.setattr(segmenter, "_segment", broken)
    with pytest.raises(EngineError, match="gone"):
        segmenter(load(shard(tmp_path, "000.jpg"), job))


def test_writing_commits_pictures_and_rows_of_the_shard(job, tmp_path):
    receipt = write(Segmenter(job)(load(shard(tmp_path, "000.jpg", "001.jpg"), job)), job)
    assert (receipt.shard, receipt.ok, receipt.failed) == (7, 2, 0)
    assert (tmp_path / "out/annotations/part-00007.parquet").is_file()
    assert (tmp_path / "out/color_masks/001.jpg.png").is_file()


def test_rows_done_again_replace_their_own_and_no_others(job, tmp_path):
    table = load(shard(tmp_path, "000.jpg", "001.jpg"), job)
    write(Segmenter(job)(table), job)
    (tmp_path / "photos/000.jpg").write_bytes(b"broken meanwhile")
    again = Segmenter(job)(load(shard(tmp_path, "000.jpg"), job))
    write(again, job, again=True)
    assert [row["status"] for row in rows(tmp_path / "out")] == ["failed", "ok"]


def test_an_output_that_cannot_be_written_raises(job, tmp_path):
    (tmp_path / "out").write_text("a file is in the way")
    with pytest.raises(StorageError):
        write(Segmenter(job)(load(shard(tmp_path, "000.jpg"), job)), job)
