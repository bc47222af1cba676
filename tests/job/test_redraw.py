"""Pictures that are switched on later: the same bytes as if they had been on; nothing is segmented again."""

import pytest
from support.jobs import draw_photographs, job_config, result_files, rows, run

from sam_batch.errors import ExitCode, FingerprintError, OutputError
from sam_batch.job import pictures, redraw
from sam_batch.job.status import dry_run
from sam_batch.output.output import Output

OFF, ON = {"enabled": False}, {"enabled": True}
NOTHING = {"color_masks": OFF, "segments": OFF}
LABELS = {"label_masks": ON}


@pytest.fixture
def folder(tmp_path):
    """Six photographs, a file that is none, and an output of rows alone."""
    draw_photographs(tmp_path / "photos", 6)
    (tmp_path / "photos/bad.jpg").write_bytes(b"")
    assert run(job(tmp_path, "bare", **NOTHING)).done == 7
    return tmp_path


def job(folder, name, **output):
    return job_config(
        folder / "photos", folder / name, output={"report": False} | output, run={"max_failure_rate": 1.0}
    )


def drawn(folder, name="bare"):
    return {
        key: digest for key, digest in result_files(folder / name).items() if key.startswith(("color", "lab", "seg"))
    }


@pytest.mark.parametrize(
    "switched",
    [
        NOTHING | LABELS,
        {"segments": OFF, "color_masks": {"opacity": 0.3, "outlines": True, "format": "jpeg"}},
        {"color_masks": {"over_image": False}, "segments": {"frame": "full", "min_area": 30}} | LABELS,
        {"segments": {"pack": "tar"}},
    ],
    ids=["labels", "style", "all", "tar"],
)
def test_pictures_switched_on_later_are_those_of_a_run_with_them_on(folder, switched, monkeypatch):
    config, before = job(folder, "bare", **switched), rows(folder / "bare")
    assert (dry_run(config).images_to_do, dry_run(config).images_to_draw) == (0, 7)
    monkeypatch.setattr("sam_batch.job.executor.open_segment_stage", lambda *_: pytest.fail("segments again"))
    summary = run(config)
    assert (summary.exit_code, summary.worked, summary.done) == (ExitCode.OK, 0, 7)
    assert rows(folder / "bare") == before
    assert (dry_run(config).pictures, run(config).worked) == ([], 0)
    monkeypatch.undo()
    run(job(folder, "other", **switched))
    assert drawn(folder) == drawn(folder, "other") != {}


def test_new_images_and_old_ones_get_them_alike(folder):
    draw_photographs(folder / "photos", 1, first=8)
    summary = run(job(folder, "bare", **NOTHING | LABELS))
    assert (summary.worked, summary.planned, len(drawn(folder))) == (1, 8, 7)


def test_what_an_interruption_left_is_drawn_by_the_next_run_and_no_more(folder, monkeypatch):
    config, told = job(folder, "bare"), []

    def write_and_stop(images, *arguments, **options):
        told.append(len(images))
        if len(told) == 2:
            raise KeyboardInterrupt
        return write(images, *arguments, **options)

    write = pictures.write_pictures
    monkeypatch.setattr(pictures, "write_pictures", write_and_stop)
    assert run(config).exit_code == ExitCode.INTERRUPTED
    assert "color_masks, segments of 7 images to draw" in dry_run(config).to_text(None)
    assert run(config).exit_code == ExitCode.OK
    assert told == [4, 2, 2]
    monkeypatch.undo()
    run(job(folder, "other"))
    assert drawn(folder) == drawn(folder, "other")


def test_they_cannot_be_switched_off_again_nor_drawn_otherwise(folder):
    run(job(folder, "bare", **NOTHING | LABELS | {"color_masks": {"opacity": 0.3}}))
    for other in (NOTHING, NOTHING | {"color_masks": {"opacity": 0.5}}):
        with pytest.raises(FingerprintError, match="other settings"):
            dry_run(job(folder, "bare", **LABELS | other))


def test_somebody_elses_picture_is_not_drawn_over(folder):
    (folder / "bare/label_masks").mkdir()
    (folder / "bare/label_masks/003.jpg.png").write_bytes(b"mine")
    for look in (dry_run, run):
        with pytest.raises(OutputError, match=r"label_masks/003\.jpg\.png is not of this job"):
            look(job(folder, "bare", **NOTHING | LABELS))


def test_an_overwritten_output_loses_them_too(folder):
    config = job(folder, "bare", **NOTHING | LABELS)
    run(config)
    run(job(folder, "bare", **NOTHING), overwrite=config.output.uri)
    assert drawn(folder) == {}


def test_an_image_that_is_gone_meanwhile_is_named_and_tried_again(folder, monkeypatch):
    config, photograph = job(folder, "bare"), (folder / "photos/002.jpg").read_bytes()
    with_bytes = pictures._with_bytes

    def lose_one(result, *arguments):
        (folder / "photos/002.jpg").unlink(missing_ok=True)
        return with_bytes(result, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_with_bytes", lose_one)
        notes = run(config).notes
    assert any(note.startswith("not drawn: 002.jpg: ") for note in notes)
    assert "1 image without pictures that were switched on; the next run tries again" in notes
    (folder / "photos/002.jpg").write_bytes(photograph)
    assert (run(config).notes, dry_run(config).pictures) == ([], [])
    assert "color_masks/002.jpg.png" in drawn(folder)


def test_images_that_count_no_more_are_not_drawn(folder):
    (folder / "photos/001.jpg").unlink()
    config = job(folder, "bare", **NOTHING | LABELS)
    run(config)
    plan = Output.at(config.output.uri, config.storage).plan()
    assert [len(shard) for shard in redraw.shards_to_draw(plan, {0, 1})] == [3, 3]
    assert "label_masks/001.jpg.png" not in drawn(folder)
