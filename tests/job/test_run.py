"""The job in a plain loop: what it leaves, and how it goes on."""

import errno
import json
import logging
import os
import shutil
import stat
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import pyarrow.parquet as pq
from pycocotools.coco import COCO
from support.corpus import MAX_PIXELS, corpus
from support.jobs import draw_photographs, job_config, make_unreadable_folder, result_files, rows, run

from sam_batch.data import pixels
from sam_batch.data.storage import read_uri
from sam_batch.errors import PermissionDeniedError
from sam_batch.masks.kernels import choose
from sam_batch.output import schema
from sam_batch.output.parts import Receipt


def test_every_image_has_its_row_and_its_pictures(photos, out):
    report = run(job_config(photos, out, output={"label_masks": {"enabled": True}}))
    assert (report.exit_code, report.planned, report.done) == (0, 6, 6)
    assert [row["key"] for row in rows(out)] == [f"{number:03}.jpg" for number in range(6)]
    for row in rows(out):
        assert row["masks"]
        assert (out / f"color_masks/{row['key']}.png").is_file()
        assert (out / f"label_masks/{row['key']}.png").is_file()
        assert len(list((out / f"segments/{row['key']}").glob("*.png"))) == len(row["masks"])


def test_images_in_archives_are_labelled_and_gone_on_with(photos, out, tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for photo in sorted(photos.iterdir()):
            archive.add(photo, photo.name)
            archive.add(photo, f"labels/{photo.stem}.json")
    run(job_config(photos, out))
    packed = out.with_name("packed")
    report = run(job_config(tmp_path / "set.tar", packed))
    assert (report.exit_code, report.listed["left_out"]) == (0, {"by_extension": {"json": 6}})
    assert [row["key"] for row in rows(packed)] == [f"set/{row['key']}" for row in rows(out)]
    assert [row["masks"] for row in rows(packed)] == [row["masks"] for row in rows(out)]
    assert [row["sha256"] for row in rows(packed)] == [row["sha256"] for row in rows(out)]
    assert (packed / "color_masks/set/000.jpg.png").is_file()
    assert run(job_config(tmp_path / "set.tar", packed)).worked == 0


def test_a_disk_without_links_and_synced_folders_holds_the_same_results(photos, out, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    def files_alone(descriptor, real=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    run(job_config(photos, out))
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "fsync", files_alone)
    stick = out.with_name("stick")
    report = run(job_config(photos, stick))
    assert (report.exit_code, report.notes) == (0, [])
    assert result_files(stick).keys() == result_files(out).keys()
    assert [row["masks"] for row in rows(stick)] == [row["masks"] for row in rows(out)]
    assert not list((stick / ".tmp").iterdir())


def test_coco_decodes_to_the_recorded_areas_and_boxes(photos, out, capsys):
    run(job_config(photos, out))
    coco = COCO(str(out / "coco/annotations.json"))
    capsys.readouterr()
    masks = [mask for row in rows(out) for mask in row["masks"]]
    assert len(coco.anns) == len(masks)
    for annotation, mask in zip(coco.dataset["annotations"], masks, strict=True):
        decoded = coco.annToMask(annotation)
        assert decoded.sum() == annotation["area"] == mask["area"]
        ys, xs = decoded.nonzero()
        assert annotation["bbox"] == mask["bbox"]
        assert mask["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]


def test_summary_and_configuration_lie_beside_the_results(photos, out):
    run(job_config(photos, out))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == {"planned": 6, "done": 6, "ok": 6, "empty": 0, "failed": 0}
    assert summary["input"] == {"images": 6, "left_out": {}}
    assert summary["versions"]["sam-batch"]
    assert "points_per_side: 3" in (out / "config.yaml").read_text()
    assert not (out / "lease.json").exists()
    assert not list((out / ".tmp").glob("*"))


def test_a_part_says_what_made_it_and_no_time_or_host(photos, out):
    run(job_config(photos, out))
    metadata = pq.read_schema(out / "annotations/part-00000.parquet").metadata
    assert {b"sam_batch.fingerprint", b"sam_batch.version", b"sam_batch.precision"} <= set(metadata)


def test_a_finished_job_run_again_changes_nothing(photos, out):
    run(job_config(photos, out))
    before = {path: path.stat().st_mtime_ns for path in (out / "annotations").iterdir()}
    files = result_files(out)
    report = run(job_config(photos, out))
    assert (report.exit_code, report.worked, report.done) == (0, 0, 6)
    assert {path: path.stat().st_mtime_ns for path in (out / "annotations").iterdir()} == before
    assert result_files(out) == files


def test_a_lost_part_is_done_again_the_same(photos, out):
    run(job_config(photos, out))
    files = result_files(out)
    (out / "annotations/part-00000.parquet").unlink()
    report = run(job_config(photos, out))
    assert report.worked == 4
    assert result_files(out) == files


def test_new_images_become_new_shards_and_keep_the_old_ids(photos, out):
    run(job_config(photos, out, input={"limit": 2}))
    draw_photographs(photos, 1, first=77)
    report = run(job_config(photos, out))
    assert (report.worked, report.done) == (5, 7)
    assert [row["image_id"] for row in rows(out)] == list(range(7))
    assert [row["key"] for row in rows(out)][:2] == ["000.jpg", "001.jpg"]
    assert len(COCO(str(out / "coco/annotations.json")).imgs) == 7


def test_every_bad_image_is_one_failed_row_and_its_neighbours_are_done(photos, out):
    expected = {}
    for name, (data, kind) in corpus().items():
        (photos / f"case {name}.jpg").write_bytes(data)
        expected[f"case {name}.jpg"] = kind
    loose = {"max_failure_rate": 1.0, "shard_size": 64}
    assert run(job_config(photos, out, input={"max_pixels": MAX_PIXELS}, run=loose)).exit_code == 0
    found = {row["key"]: row["error"] and row["error"]["kind"] for row in rows(out)}
    assert {key: found[key] for key in expected} == expected
    notes = {row["key"]: row["notes"] for row in rows(out)}
    assert notes["case tiff_pages.tif.jpg"] == ["pages_dropped"]
    assert notes["case png.png.jpg"] is None
    assert json.loads((out / "summary.json").read_text())["pixel_notes"]["pages_dropped"] >= 5
    assert [found[f"{number:03}.jpg"] for number in range(6)] == [None] * 6


def test_too_many_failures_end_in_exit_code_3(photos, out):
    (photos / "bad.jpg").write_bytes(b"no picture")
    report = run(job_config(photos, out))
    assert report.exit_code == 3
    assert report.failures == {"not_an_image": 1}


def test_failed_images_are_tried_again_on_demand_alone(photos, out, monkeypatch):
    def refuse_one(uri, *arguments):
        if uri.endswith("002.jpg"):
            raise PermissionDeniedError(uri)
        return read_uri(uri, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr("sam_batch.job.outage.read_uri", refuse_one)
        assert run(job_config(photos, out)).failures == {"permission_denied": 1}
    assert run(job_config(photos, out)).worked == 0
    report = run(job_config(photos, out, run={"retry_failed": True}))
    assert (report.exit_code, report.worked, report.done, report.failures) == (0, 1, 6, {})
    clean = out.with_name("clean")
    run(job_config(photos, clean))
    assert rows(out) == rows(clean)
    assert (out / "color_masks/002.jpg.png").read_bytes() == (clean / "color_masks/002.jpg.png").read_bytes()


def test_what_was_warned_of_is_said_once_and_listed_in_the_summary(photos, out, monkeypatch, caplog):
    make_unreadable_folder(photos)  # the driver's warning

    def slow(*arguments):
        logging.getLogger("sam_batch.segment").warning("slow")
        return pixels.decode(*arguments)

    monkeypatch.setattr("sam_batch.job.pictures.pixels", SimpleNamespace(decode=slow))
    notes = run(job_config(photos, out)).notes
    assert notes[0].startswith(f"input.uri: passed over what could not be read: {photos}/ddd")
    assert notes[1:] == ["slow"]
    assert json.loads((out / "summary.json").read_text())["notes"] == notes
    assert caplog.messages == [notes[0], *["slow"] * 6]


def test_what_only_workers_could_log_the_driver_logs_once(photos, out, monkeypatch, caplog):
    of = Receipt.of
    monkeypatch.setattr(Receipt, "of", lambda *arguments: replace(of(*arguments), notes=["slow", "slow"]))
    assert run(job_config(photos, out)).notes == ["slow"]
    assert caplog.messages == ["slow"]


def test_how_masks_were_made_is_logged_once_and_listed_in_the_summary(photos, out, caplog):
    caplog.set_level(logging.INFO, "sam_batch")
    (way,) = run(job_config(photos, out, run={"shard_size": 1})).postprocessing
    assert json.loads((out / "summary.json").read_text())["postprocessing"] == [way]
    assert way == choose.describe("cpu")
    assert caplog.messages.count(f"post-processing: {way}") == 1


def test_odd_names_never_meet(photos, out):
    names = ["a.jpg", "a.jpeg", "a b#c?.jpg", "ünï.jpg", "new\nline.jpg", "b/a.jpg", "x::y.jpg", "c[1].jpg"]
    (photos / "b").mkdir()
    for name in names:
        shutil.copy(photos / "000.jpg", photos / name)
    (photos / "loop").symlink_to(photos)
    report = run(job_config(photos, out))
    assert (report.exit_code, report.done) == (0, 6 + len(names))
    assert {row["key"] for row in rows(out)} >= set(names)
    assert len(list((out / "color_masks").rglob("*.png"))) == 6 + len(names)


def test_packed_segments_are_one_tar_a_shard(photos, out):
    run(job_config(photos, out, output={"segments": {"pack": "tar"}}))
    assert sorted(path.name for path in (out / "segments").iterdir()) == ["shard-00000.tar", "shard-00001.tar"]


def test_the_same_job_from_and_to_a_bucket_gives_the_same_rows(photos, out, s3_bucket):
    for path in photos.iterdir():
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"in/{path.name}", Body=path.read_bytes())
    run(job_config(photos, out))
    storage = s3_bucket.config.model_dump()
    config = job_config(f"{s3_bucket.uri}/in/", f"{s3_bucket.uri}/out/", storage=storage)
    assert run(config).exit_code == 0
    assert run(config).worked == 0
    for path in (out / "annotations").iterdir():
        body = s3_bucket.client.get_object(Bucket=s3_bucket.name, Key=f"out/annotations/{path.name}")["Body"].read()
        there = schema.read_part(body).drop_columns("uri")
        assert there.to_pylist() == schema.read_part(path.read_bytes()).drop_columns("uri").to_pylist()


def test_a_finished_job_leaves_nothing_of_killed_runs_behind(tmp_path):
    draw_photographs(tmp_path / "photos", 1)
    config = job_config(tmp_path / "photos", tmp_path / "out")
    run(config)
    left = tmp_path / "out/.tmp" / f"sam-batch-{'0' * 32}"
    left.write_bytes(b"half a part")
    run(config)
    assert not left.exists()
