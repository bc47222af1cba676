"""A changed world is noticed: replaced images are done again, gone ones count no more, a touched file costs a look."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.jobs import draw_photographs, job_config, rows, run

from sam_batch.errors import ExitCode, OutputError
from sam_batch.job.status import dry_run, status
from sam_batch.output.output import Output


@pytest.fixture
def job(tmp_path):
    """Six photographs in two shards, labelled."""
    draw_photographs(tmp_path / "photos", 6)
    config = job_config(tmp_path / "photos", tmp_path / "out")
    assert run(config).exit_code == ExitCode.OK
    return config


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


def counted_rows(config):
    output = Output.at(config.output.uri, config.storage)
    return [row for part in output.parts(output.plan(), output.done()) for row in part.to_pylist()]


def in_coco(tmp_path):
    return [image["file_name"] for image in json.loads((tmp_path / "out/coco/annotations.json").read_text())["images"]]


def replace_photograph(photos, name, seed=99, size=(80, 40)):
    draw_photographs(photos / "new", 1, size, first=seed)
    (photos / "new" / f"{seed:03}.jpg").rename(photos / name)
    (photos / "new").rmdir()


def test_a_replaced_image_is_done_again_and_counts_once(job, photos, tmp_path):
    replace_photograph(photos, "002.jpg")
    summary = run(job)
    assert (summary.exit_code, summary.worked, summary.planned) == (ExitCode.OK, 1, 6)
    assert "1 image changed since they were labelled: done again" in summary.notes
    row = next(row for row in counted_rows(job) if row["key"] == "002.jpg")
    assert (row["height"], row["width"], row["image_id"]) == (40, 80, 6)
    assert sorted(in_coco(tmp_path)) == [f"00{i}.jpg" for i in range(6)]
    assert run(job).worked == 0


def test_every_image_may_be_replaced_at_once(job, photos):
    draw_photographs(photos, 6, (80, 40))
    assert [(run(job).exit_code, run(job).worked) for _ in range(2)] == [(ExitCode.OK, 0)] * 2
    assert [row["width"] for row in counted_rows(job)] == [80] * 6


WORLDS = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), min_size=1), min_size=2, max_size=4)


@settings(max_examples=8)
@given(worlds=WORLDS)
@example(worlds=[{"a": 0}, {"a": 1}, {"a": 0, "b": 0}])
def test_whatever_the_input_was_before_the_rows_are_of_what_it_is(worlds):
    """An image by its name, its content by a number: what counts is what a run into a new output gives."""
    with TemporaryDirectory() as folder:
        photos, config = Path(folder, "photos"), job_config(f"{folder}/photos", f"{folder}/out", run={"shard_size": 2})
        for world in worlds:
            for name in "abc":
                (photos / f"{name}.jpg").unlink(missing_ok=True)
            for name, seed in world.items():
                replace_photograph(photos, f"{name}.jpg", seed, (16 + seed, 12))
            summary = run(config)
            assert (summary.exit_code, summary.planned, summary.done) == (ExitCode.OK, len(world), len(world))
            assert {row["key"]: row["width"] - 16 for row in counted_rows(config)} == {
                f"{name}.jpg": seed for name, seed in world.items()
            }
            assert sorted(in_coco(Path(folder))) == sorted(f"{name}.jpg" for name in world)
            assert (dry_run(config).touched, run(config).worked) == (0, 0)


def test_of_a_replaced_image_no_old_cutout_stays(job, photos, tmp_path):
    (photos / "002.jpg").write_bytes((photos / "002.jpg").read_bytes())
    replace_photograph(photos, "002.jpg")
    run(job)
    row = next(row for row in counted_rows(job) if row["key"] == "002.jpg")
    assert {path.stem for path in (tmp_path / "out/segments/002.jpg").iterdir()} == {
        str(mask["mask_id"]) for mask in row["masks"]
    }


def test_replaced_images_can_be_refused_by_name(job, photos, tmp_path):
    replace_photograph(photos, "002.jpg")
    before = rows(tmp_path / "out")
    with pytest.raises(OutputError, match=r"input\.changed: 1 image changed .*\(002\.jpg\)"):
        run(job.model_copy(update={"input": job.input.model_copy(update={"changed": "refuse"})}))
    assert rows(tmp_path / "out") == before
    assert status(job).counts["ok"] == 6


def test_a_file_that_was_only_touched_is_as_it_was(job, photos):
    os.utime(photos / "002.jpg", (1, 1))
    assert dry_run(job).touched == 1
    assert run(job).worked == 0
    assert dry_run(job).touched == 0


def test_an_image_that_is_gone_leaves_counts_and_exports(job, photos, tmp_path):
    (photos / "003.jpg").unlink()
    assert dry_run(job).gone == 1
    summary = run(job)
    assert (summary.exit_code, summary.planned, summary.done, summary.worked) == (ExitCode.OK, 5, 5, 0)
    assert "003.jpg" not in in_coco(tmp_path)
    assert status(job).counts["ok"] == 5
    assert (tmp_path / "out/color_masks/003.jpg.png").exists()


def test_one_that_comes_back_counts_again_without_work(job, photos, tmp_path):
    (photos / "003.jpg").rename(tmp_path / "away.jpg")
    run(job)
    (tmp_path / "away.jpg").rename(photos / "003.jpg")
    summary = run(job)
    assert (summary.planned, summary.done, summary.worked) == (6, 6, 0)
    assert "003.jpg" in in_coco(tmp_path)


def test_a_broken_image_that_is_deleted_lets_the_job_end_well(tmp_path, photos):
    draw_photographs(photos, 3)
    (photos / "bad.jpg").write_bytes(b"")
    config = job_config(photos, tmp_path / "out", run={"max_failure_rate": 0.0})
    assert run(config).exit_code == ExitCode.TOO_MANY_FAILURES
    (photos / "bad.jpg").unlink()
    assert run(config).exit_code == ExitCode.OK


def test_a_broken_image_that_is_mended_is_done_again(tmp_path, photos):
    draw_photographs(photos, 3)
    (photos / "bad.jpg").write_bytes(b"")
    config = job_config(photos, tmp_path / "out", run={"max_failure_rate": 0.0})
    run(config)
    replace_photograph(photos, "bad.jpg")
    assert run(config).exit_code == ExitCode.OK
    assert [row["status"] for row in counted_rows(config)] == ["ok"] * 4


def test_a_renamed_image_is_a_new_one_and_the_old_is_gone(job, photos, tmp_path):
    (photos / "001.jpg").rename(photos / "x.jpg")
    summary = run(job)
    assert (summary.planned, summary.worked) == (6, 1)
    assert sorted(in_coco(tmp_path)) == ["000.jpg", "002.jpg", "003.jpg", "004.jpg", "005.jpg", "x.jpg"]


def test_a_limit_makes_no_image_gone(job):
    limited = job.model_copy(update={"input": job.input.model_copy(update={"limit": 2})})
    assert (run(limited).planned, dry_run(limited).gone) == (6, 0)


def test_an_image_that_changes_before_it_is_labelled_is_labelled_as_it_is(job, photos, tmp_path):
    (tmp_path / "out/annotations/part-00001.parquet").unlink()
    replace_photograph(photos, "005.jpg")
    assert run(job).worked == 2
    assert next(row for row in counted_rows(job) if row["key"] == "005.jpg")["image_id"] == 5
    assert run(job).worked == 0


def test_rows_of_a_manifest_that_point_elsewhere_are_done_again(tmp_path, photos):
    draw_photographs(photos, 3)
    listed = tmp_path / "list.csv"
    listed.write_text("uri,key\nphotos/000.jpg,a\nphotos/001.jpg,b\n")
    config = job_config(listed, tmp_path / "out")
    run(config)
    listed.write_text("uri,key\nphotos/000.jpg,a\nphotos/002.jpg,b\n")
    assert run(config).worked == 1
    assert {row["key"]: row["uri"][-7:] for row in counted_rows(config)} == {"a": "000.jpg", "b": "002.jpg"}


def test_a_file_that_was_replaced_behind_its_row_of_a_manifest_is_done_again(tmp_path, photos):
    draw_photographs(photos, 3)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"photos/00{number}.jpg\n" for number in range(3)))
    config = job_config(listed, tmp_path / "out")
    run(config)
    assert (dry_run(config).touched, run(config).worked) == (0, 0)
    replace_photograph(photos, "001.jpg")
    assert (dry_run(config).touched, run(config).worked, run(config).worked) == (1, 1, 0)
    assert next(row for row in counted_rows(config) if row["key"] == "001.jpg")["width"] == 80


def test_an_object_that_was_replaced_behind_its_row_of_a_manifest_is_done_again(tmp_path, photos, s3_bucket):
    def put(number, name):
        data = (photos / f"00{number}.jpg").read_bytes()
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=name, Body=data)

    draw_photographs(photos, 6)
    for number in range(5):
        put(number, f"in/{number}.jpg")
    (tmp_path / "list.txt").write_text("".join(f"{s3_bucket.uri}/in/{number}.jpg\n" for number in range(5)))
    config = job_config(tmp_path / "list.txt", tmp_path / "out", storage=s3_bucket.config.model_dump())
    assert (run(config).worked, run(config).worked) == (5, 0)
    put(5, "in/1.jpg")
    assert (run(config).worked, run(config).worked) == (1, 0)


def test_a_driver_that_dies_between_two_steps_counts_nothing_twice(job, photos, monkeypatch):
    replace_photograph(photos, "002.jpg")
    with monkeypatch.context() as patch:
        patch.setattr("sam_batch.job.steps.store", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(job)
    summary = run(job)
    assert (summary.planned, summary.done, summary.worked) == (6, 6, 1)


def test_a_folder_that_cannot_be_read_makes_no_image_gone(tmp_path, photos, monkeypatch):
    draw_photographs(photos / "a", 2)
    draw_photographs(photos / "b", 2)
    config = job_config(photos, tmp_path / "out")
    run(config)
    scandir = os.scandir

    def refuse(path, *arguments):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path, *arguments)

    monkeypatch.setattr("os.scandir", refuse)
    assert dry_run(config).gone == 0
    assert run(config).planned == 4


def moved_job(job, tmp_path, **settings):
    (tmp_path / "photos").rename(tmp_path / "moved")
    return job.model_copy(update={"input": job.input.model_copy(update={"uri": str(tmp_path / "moved"), **settings})})


def test_a_moved_folder_is_the_same_job(job, tmp_path):
    before = rows(tmp_path / "out")
    moved = moved_job(job, tmp_path)
    foreseen = dry_run(moved)
    assert (foreseen.planned, foreseen.new, foreseen.gone, foreseen.images_to_do) == (6, 0, 0, 0)
    line = f"input.uri: was {tmp_path}/photos and is now {tmp_path}/moved"
    assert f"{line}; a run compares the contents" in foreseen.to_text(None)
    summary = run(moved)
    assert (summary.exit_code, summary.worked, summary.done) == (ExitCode.OK, 0, 6)
    assert summary.notes == [f"{line}; the images are the same"]
    assert rows(tmp_path / "out") == before
    assert {row["uri"] for row in counted_rows(moved)} == {f"{tmp_path}/moved/00{i}.jpg" for i in range(6)}


def test_after_a_move_everything_is_noticed_as_before(job, tmp_path):
    moved = moved_job(job, tmp_path)
    run(moved)
    assert (dry_run(moved).touched, dry_run(moved).moved, run(moved).notes) == (0, None, [])
    (tmp_path / "moved/001.jpg").unlink()
    replace_photograph(tmp_path / "moved", "002.jpg")
    summary = run(moved)
    assert (summary.worked, summary.planned) == (1, 5)


def test_a_folder_may_move_back_and_grow(job, photos, tmp_path):
    run(moved_job(job, tmp_path))
    (tmp_path / "moved").rename(photos)
    draw_photographs(photos, 1, first=7)
    summary = run(job)
    assert (summary.worked, summary.planned) == (1, 7)
    assert {Path(row["uri"]).parent for row in counted_rows(job)} == {photos}


def test_what_was_not_done_before_the_move_is_done_where_it_is_now(job, photos, tmp_path):
    (tmp_path / "out/annotations/part-00001.parquet").unlink()
    summary = run(moved_job(job, tmp_path, changed="refuse"))
    assert (summary.exit_code, summary.worked, summary.done, summary.failures) == (ExitCode.OK, 2, 6, {})
    assert sorted(in_coco(tmp_path)) == [f"00{i}.jpg" for i in range(6)]


def beside(job, tmp_path, *names):
    """The job with several inputs: by default the one it began with, and a new one of two images."""
    uris = tuple(str(tmp_path / name) for name in names or ("photos", "more"))
    return job.model_copy(update={"input": job.input.model_copy(update={"uri": uris})})


@pytest.fixture
def more(tmp_path):
    draw_photographs(tmp_path / "more", 2, first=20)
    return tmp_path / "more"


@pytest.mark.usefixtures("more")
@pytest.mark.parametrize("names", [("photos", "more"), ("more", "photos")])
def test_a_second_folder_beside_the_first_goes_on_with_the_job(job, photos, tmp_path, names):
    before = rows(tmp_path / "out")
    grown = beside(job, tmp_path, *names)
    assert (dry_run(grown).new, dry_run(grown).gone, dry_run(grown).moved) == (2, 0, None)
    summary = run(grown)
    assert (summary.exit_code, summary.worked, summary.planned, summary.notes) == (ExitCode.OK, 2, 8, [])
    assert rows(tmp_path / "out")[:6] == before
    assert [row["key"] for row in counted_rows(grown)][6:] == ["more/020.jpg", "more/021.jpg"]
    draw_photographs(photos, 1, first=6)
    assert (run(grown).worked, run(grown).worked) == (1, 0)
    assert counted_rows(grown)[-1]["key"] == "006.jpg"


@pytest.mark.usefixtures("more")
def test_of_two_folders_none_may_lack(job, tmp_path):
    run(beside(job, tmp_path))
    with pytest.raises(OutputError, match=r"are not there: more/020\.jpg, more/021\.jpg"):
        run(job)


def test_two_folders_may_move_together(job, more, tmp_path):
    run(beside(job, tmp_path))
    (tmp_path / "photos").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    more.rename(tmp_path / "elsewhere/more")
    summary = run(beside(job, tmp_path, "moved", "elsewhere/more"))
    assert (summary.exit_code, summary.worked, summary.planned) == (ExitCode.OK, 0, 8)


@pytest.mark.usefixtures("more")
def test_a_job_done_anew_names_each_of_its_folders(job, tmp_path):
    grown = beside(job, tmp_path)
    assert run(grown, overwrite=grown.output.uri).exit_code == ExitCode.OK
    assert counted_rows(grown)[-1]["key"] == "photos/005.jpg"


def other_photograph(photos):
    data = bytearray((photos / "002.jpg").read_bytes())
    data[-3] ^= 1
    (photos / "002.jpg").write_bytes(data)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda photos: (photos / "002.jpg").unlink(), "not there"),
        (lambda photos: (photos / "002.jpg").write_bytes(b"x"), "of another size"),
        (other_photograph, "of other content"),
    ],
    ids=["gone", "size", "content"],
)
def test_other_images_at_another_place_are_refused_by_name(job, photos, tmp_path, change, fault):
    change(photos)
    before = rows(tmp_path / "out")
    message = rf"input\.uri: was .*photos and is now .*moved, with other images: .* are {fault}: 002\.jpg;"
    with pytest.raises(OutputError, match=message):
        run(moved_job(job, tmp_path))
    assert rows(tmp_path / "out") == before


def test_a_moved_input_is_looked_at_as_a_whole(job, tmp_path):
    with pytest.raises(OutputError, match=r"run once without input\.limit"):
        dry_run(moved_job(job, tmp_path, limit=2))
