"""Load, segment and write, one shard at a time."""

import hashlib
import io
import logging
import pkgutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from unittest import mock

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.blobs import BlobEngine
from support.jobs import draw_photographs, job_config, rows
from support.pictures import picture
from support.small_sam import small_sam, torch_engine

from sam_batch.config import GeneratorConfig
from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.engine.fake import FakeEngine
from sam_batch.engine.preprocess import preprocess
from sam_batch.errors import EngineError, NonFiniteError, StorageError
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import SegmentStage, Ticket, load, open_segment_stage, write
from sam_batch.masks.kernels import choose
from sam_batch.output import schema
from sam_batch.records import Failure, FailureKind, ImageRef, ImageResult, LoadedImage, Stage, Status, View
from sam_batch.segment.everything import Everything


@pytest.fixture
def job(tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    return spec(tmp_path)


def spec(tmp_path, **sections):
    config = job_config(tmp_path / "photos", tmp_path / "out", **sections)
    return JobSpec(config, FAKE, FakeChoice())


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
    assert [one.sha256 for one in (bad, gone)] == [hashlib.sha256(b"no image").hexdigest(), ""]


def test_segmenting_leaves_the_pixels_behind_and_carries_the_ticket(job, tmp_path):
    table = open_segment_stage(job)(load(shard(tmp_path, "000.jpg", "001.jpg"), job))
    assert "views" not in table.column_names
    assert [result.status for result in schema.table_to_results(table)] == [Status.OK, Status.OK]
    ticket = Ticket.of(table)
    assert ticket.shard == 7
    assert min(ticket.load_seconds, ticket.segment_seconds) > 0


def test_an_image_without_masks_is_empty_and_not_failed(job, tmp_path):
    black = io.BytesIO()
    Image.new("RGB", (20, 10)).save(black, "PNG")
    (tmp_path / "photos/black.png").write_bytes(black.getvalue())
    (result,) = schema.table_to_results(open_segment_stage(job)(load(shard(tmp_path, "black.png"), job)))
    assert (result.status, result.height, result.width, result.annotations) == (Status.EMPTY, 10, 20, ())


def test_a_broken_engine_raises_instead_of_failing_images(job, tmp_path, monkeypatch):
    def broken(*arguments):
        raise EngineError("gone")

    monkeypatch.setattr(FakeEngine, "score", broken)
    segment = open_segment_stage(job)
    with pytest.raises(EngineError, match="gone"):
        segment(load(shard(tmp_path, "000.jpg"), job))


class PickyEngine(BlobEngine):
    """Fails on chosen images, in a chosen step; has no room for more than so many prompts at once."""

    def __init__(self, bad=(), step="score", error=NonFiniteError, room=100):
        self.bad = [self._sums(pixels) for pixels in bad]
        self.step, self.error, self.room = step, error, room

    def _sums(self, pixels):
        return super().embed(preprocess(pixels, self.spec)).features[0].sum().item()

    def _fail_on(self, step, embeddings):
        if step == self.step and any(one.features[0].sum().item() in self.bad for one in embeddings):
            raise self.error("this image")

    def embed(self, images_N3SS):
        embeddings = super().embed(images_N3SS)
        self._fail_on("embed", embeddings)
        return embeddings

    def score(self, embedding, prompts):
        if len(prompts) > self.room:
            raise torch.OutOfMemoryError("no room")
        self._fail_on("score", embedding)
        return super().score(embedding, prompts)


LENIENT = GeneratorConfig(points_per_side=3, pred_iou_thresh=0.3, stability_score_thresh=0.3)
IMAGES = [picture(90, 128, seed) for seed in range(6)]


def segmented(engine, images, threads=0, at_once=1, algorithm=None):
    """The shard of some images, as a segment stage with this engine leaves it."""
    pool = ThreadPoolExecutor(threads) if threads else None
    algorithm = algorithm or Everything(engine, LENIENT)
    with closing(SegmentStage(engine, algorithm, pool=pool, views_at_once=at_once)) as segment:
        return schema.table_to_results(segment(loaded(images)))


def loaded(images):
    """A shard of images and, where there is None, one that could not be loaded."""
    rows = []
    for number, pixels in enumerate(images):
        ref = ImageRef(number, f"{number}.png", "")
        view = () if pixels is None else (View((0, 0, *pixels.shape[1::-1]), pixels),)
        not_found = Failure(Stage.LOAD, FailureKind.NOT_FOUND, "gone")
        failed = ImageResult.failed(ref, not_found)
        rows.append(failed if pixels is None else LoadedImage(ref, *pixels.shape[:2], "00", b"data", view))
    return Ticket(7).attach(schema.loaded_to_table(rows))


@settings(max_examples=40, deadline=None)
@given(
    missing=st.sets(st.integers(0, 5), max_size=3),
    bad=st.sets(st.integers(0, 5), max_size=3),
    step=st.sampled_from(["embed", "score"]),
    error=st.sampled_from([NonFiniteError, RuntimeError]),
    room=st.integers(1, 9),
    at_once=st.integers(1, 4),
    threads=st.integers(0, 2),
)
def test_whatever_fails_and_however_it_is_worked_on_the_others_end_as_alone(
    missing, bad, step, error, room, at_once, threads
):
    images = [None if number in missing else pixels for number, pixels in enumerate(IMAGES)]
    plain = segmented(BlobEngine(), images)
    engine = PickyEngine([IMAGES[number] for number in bad], step, error, room)
    results = segmented(engine, images, threads, at_once)
    kind = FailureKind.NON_FINITE_OUTPUT if error is NonFiniteError else FailureKind.INTERNAL_ERROR
    for number, (result, alone) in enumerate(zip(results, plain, strict=True)):
        assert (result.height, result.width, result.sha256) == (alone.height, alone.width, alone.sha256)
        if number in bad - missing:
            assert (result.ref, result.failure.stage, result.failure.kind) == (alone.ref, Stage.SEGMENT, kind)
        else:
            assert result == alone


def test_an_image_is_concluded_while_the_engine_has_the_next_one():
    next_one = threading.Event()

    class TellingEngine(BlobEngine):
        embedded = 0

        def embed(self, images_N3SS):
            self.embedded += 1
            if self.embedded == 2:
                next_one.set()
            return super().embed(images_N3SS)

    class WaitingAlgorithm(Everything):
        def conclude(self, image, found):
            assert next_one.wait(60)
            return super().conclude(image, found)

    engine = TellingEngine()
    waited = segmented(engine, IMAGES[:2], threads=2, algorithm=WaitingAlgorithm(engine, LENIENT))
    assert waited == segmented(BlobEngine(), IMAGES[:2])


def test_an_image_whose_masks_cannot_be_concluded_keeps_its_size_and_hash():
    class ShortAlgorithm(Everything):
        def conclude(self, image, found):
            raise MemoryError

    (result,) = segmented(BlobEngine(), IMAGES[:1], algorithm=ShortAlgorithm(BlobEngine(), LENIENT))
    assert (result.status, result.failure.kind) == (Status.FAILED, FailureKind.OUT_OF_MEMORY)
    assert (result.height, result.width, result.sha256) == (*IMAGES[0].shape[:2], "00")


def test_an_engine_that_breaks_while_threads_help_raises():
    with pytest.raises(EngineError, match="this image"):
        segmented(PickyEngine(IMAGES[2:3], error=EngineError), IMAGES, threads=2, at_once=4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same_with_threads_beside_it():
    def on_gpu(threads):
        engine = torch_engine(small_sam(), device="cuda")
        return segmented(engine, IMAGES, threads, at_once=4)

    results = on_gpu(threads=2)
    assert results == on_gpu(threads=0)
    assert any(result.annotations for result in results)


def test_writing_commits_pictures_and_rows_of_the_shard(job, tmp_path):
    receipt = write(open_segment_stage(job)(load(shard(tmp_path, "000.jpg", "001.jpg"), job)), job)
    assert (receipt.shard, receipt.ok, receipt.failed) == (7, 2, 0)
    assert (tmp_path / "out/annotations/part-00007.parquet").is_file()
    assert (tmp_path / "out/color_masks/001.jpg.png").is_file()


def test_rows_done_again_replace_their_own_and_no_others(job, tmp_path):
    table = load(shard(tmp_path, "000.jpg", "001.jpg"), job)
    write(open_segment_stage(job)(table), job)
    (tmp_path / "photos/000.jpg").write_bytes(b"broken meanwhile")
    again = open_segment_stage(job)(load(shard(tmp_path, "000.jpg"), job))
    receipt = write(again, job, again=True)
    assert (receipt.ok, receipt.failed) == (0, 1)
    assert [row["status"] for row in rows(tmp_path / "out")] == ["failed", "ok"]


def test_a_receipt_says_how_masks_were_made(job, tmp_path):
    receipt = write(open_segment_stage(job)(load(shard(tmp_path, "000.jpg"), job)), job)
    assert receipt.postprocessing == [choose.describe("cpu")]


def test_a_slow_way_to_masks_is_noted_with_every_shard(job, tmp_path):
    with mock.patch.object(choose, "describe", warning_of("step by step", lambda device: "torch")):
        receipt = write(open_segment_stage(job)(load(shard(tmp_path, "000.jpg"), job)), job)
    assert (receipt.notes, receipt.postprocessing) == (["step by step"], ["torch"])


@pytest.mark.parametrize("name", ["job.outage.read_uri", "job.stages.write_pictures", "segment.everything.annotate"])
def test_what_a_stage_warns_of_travels_with_the_shard(job, tmp_path, name):
    target = f"sam_batch.{name}"
    with mock.patch(target, warning_of(name, pkgutil.resolve_name(target))):
        receipt = write(open_segment_stage(job)(load(shard(tmp_path, "000.jpg", "001.jpg"), job)), job)
    assert receipt.notes == [name]


def warning_of(message, act):
    def warn(*arguments, **options):
        logging.getLogger("sam_batch.data").warning(message)
        return act(*arguments, **options)

    return warn


def test_every_shard_of_a_worker_carries_what_it_has_warned_of(job, tmp_path):
    """Another shard may be lost on its way, and what is looked at once is not said again."""
    tables = [load(shard(tmp_path, name), job) for name in ("000.jpg", "001.jpg")]
    with mock.patch("sam_batch.engine.factory.FakeEngine", warning_of("no compiler", FakeEngine)):
        segment = open_segment_stage(job)
    assert [Ticket.of(segment(table)).notes for table in tables] == [["no compiler"]] * 2


def test_memory_that_does_not_suffice_is_noted():
    engine = PickyEngine(room=4)
    notes = Ticket.of(SegmentStage(engine, Everything(engine, LENIENT))(loaded(IMAGES[:2]))).notes
    assert notes == ["out of memory: from now on 4 instead of 64 prompts decoded at once"]


def test_an_output_that_cannot_be_written_raises(job, tmp_path):
    (tmp_path / "out").write_text("a file is in the way")
    with pytest.raises(StorageError):
        write(open_segment_stage(job)(load(shard(tmp_path, "000.jpg"), job)), job)
