import json
import shutil
from dataclasses import replace

import pytest
from support.jobs import draw_photographs, job_config, result_files, rows, run

from sam_batch.config import StorageConfig
from sam_batch.config_output import OutputConfig
from sam_batch.errors import ConfigError, ExitCode, FingerprintError, LeaseError, OutputError
from sam_batch.export.formats import export_output
from sam_batch.job.filtered import filter_output
from sam_batch.output import layout, lease, schema
from sam_batch.output.output import Output
from sam_batch.output.summary import Summary
from sam_batch.report.make import make_report
from sam_batch.segment.thinning import Thinning

LOW = {"generator": {"pred_iou_thresh": 0.1, "stability_score_thresh": 0.1}}
BETTER = Thinning(pred_iou_thresh=0.5)


def at(folder):
    return Output.at(str(folder), StorageConfig())


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A finished output with one failed image, in two shards, and another of a replaced image."""
    root = tmp_path_factory.mktemp("labelled")
    draw_photographs(root / "photos", 5)
    (root / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff")
    run(job_config(root / "photos", root / "out", **LOW))
    draw_photographs(root / "new", 1, size=(80, 40), first=9)
    (root / "new/009.jpg").replace(root / "photos/000.jpg")
    run(job_config(root / "photos", root / "out", **LOW))
    return root


@pytest.fixture
def root(labelled, tmp_path):
    return shutil.copytree(labelled, tmp_path, dirs_exist_ok=True)


def filtered(root, thinning=BETTER, name="better"):
    return filter_output(at(root / "out"), str(root / name), thinning)


def test_a_higher_predicted_iou_gives_the_rows_of_a_run_with_it(root, labelled):
    report = filtered(root)
    run(job_config(labelled / "photos", root / "run", generator={**LOW["generator"], "pred_iou_thresh": 0.5}))
    assert _rows(root / "better") == _rows(root / "run")
    assert 0 < report.masks < sum(len(row["masks"]) for row in rows(root / "out"))


def _rows(folder):
    """Of the images that count, by key: one that was replaced since has another number than in a new job."""
    output = at(folder)
    parts = output.parts(output.require_plan(), output.done())
    return {row["key"]: {**row, "image_id": None} for part in parts for row in part.to_pylist()}


def test_the_output_that_is_filtered_stays_as_it_is(root):
    before = result_files(root / "out")
    filtered(root)
    assert result_files(root / "out") == before


def test_it_is_an_output_that_reports_exports_and_filters_work_on(root):
    report = filtered(root)
    assert (report.exit_code, report.done, report.planned) == (ExitCode.OK, 6, 6)
    export_output(at(root / "better"), ["coco", "yolo"], OutputConfig(uri="better"))
    coco = json.loads((root / "better/coco/annotations.json").read_text())
    assert len(coco["annotations"]) == report.masks
    assert {one["score"] > 0.5 for one in coco["annotations"]} == {True}
    make_report(str(root / "better"), StorageConfig())
    again = filter_output(at(root / "better"), str(root / "best"), Thinning(max_masks_per_image=1))
    assert again.masks == again.status["ok"]


def test_it_says_what_it_was_filtered_from(root):
    filtered(root)
    steps = [{"from": str(root / "out"), "pred_iou_thresh": 0.5}]
    assert json.loads(json.loads((root / "better/summary.json").read_text())["run"]["filter"]) == steps
    assert json.loads(at(root / "better").require_plan().fingerprint["filter"]) == steps
    assert json.dumps(steps) in (root / "better/config.yaml").read_text()
    filter_output(at(root / "better"), str(root / "best"), Thinning(max_masks_per_image=1))
    steps.append({"from": str(root / "better"), "max_masks_per_image": 1})
    assert json.loads(at(root / "best").require_plan().fingerprint["filter"]) == steps


def test_done_again_it_is_the_same_and_what_was_made_of_it_before_goes(root):
    filtered(root)
    before = result_files(root / "better")
    export_output(at(root / "better"), ["coco"], OutputConfig(uri="better"))
    make_report(str(root / "better"), StorageConfig())
    (root / "better/annotations/part-00000.parquet").unlink()
    filtered(root)
    assert result_files(root / "better") == before
    assert not (root / "better" / layout.REPORT).exists()


def test_no_run_goes_on_with_it(root, labelled):
    filtered(root)
    pictures = {name: {"enabled": False} for name in ("color_masks", "segments")}
    generator = {**LOW["generator"], "pred_iou_thresh": 0.5}
    with pytest.raises(FingerprintError, match=r"filter: there .*pred_iou_thresh.*now unset$"):
        run(job_config(labelled / "photos", root / "better", generator=generator, output=pictures))


def test_another_place_is_needed(root):
    with pytest.raises(ConfigError, match="is the output itself"):
        filtered(root, name="out")
    with pytest.raises(OutputError, match="no plan of a job"):
        filtered(root, name="photos")
    filtered(root)
    with pytest.raises(OutputError, match="another job or filter"):
        filtered(root, Thinning(pred_iou_thresh=0.6))


def test_an_unfinished_output_is_refused(root):
    (root / "out/annotations/part-00001.parquet").unlink()
    with pytest.raises(OutputError, match="not done yet; a run finishes them"):
        filtered(root)
    assert not (root / "better").exists()


def test_of_an_unfinished_filter_the_same_filter_is_what_finishes_it(root):
    filtered(root)
    (root / "better/annotations/part-00001.parquet").unlink()
    with pytest.raises(OutputError, match="the `sam-batch filter` that began it, given again, finishes them"):
        filter_output(at(root / "better"), str(root / "best"), BETTER)
    with pytest.raises(OutputError, match="the `sam-batch filter` that began it"):
        export_output(at(root / "better"), ["coco"], OutputConfig(uri="better"))


def test_an_output_that_was_moved_filters_alike(root):
    filtered(root)
    (root / "out").rename(root / "moved")
    filter_output(at(root / "moved"), str(root / "of moved"), BETTER)
    assert _rows(root / "of moved") == _rows(root / "better")


@pytest.mark.parametrize("name", ["out", "better"])
def test_a_place_in_use_is_refused(root, name):
    holding = lease.acquire(at(root / name).storage)
    with pytest.raises(LeaseError):
        filtered(root)
    holding.release()


def test_a_filter_that_does_nothing_or_would_need_other_masks_is_refused(root):
    with pytest.raises(ConfigError, match="nothing to filter by"):
        filtered(root, Thinning())
    with pytest.raises(ConfigError, match=r"pred_iou_thresh: the output was made with 0\.1"):
        filtered(root, Thinning(pred_iou_thresh=0.05))


def test_where_a_run_may_find_others_it_is_said(root):
    assert filtered(root).notes == []
    (note,) = filtered(root, Thinning(stability_score_thresh=0.5), "stable").notes
    assert note.startswith("stability_score_thresh: a run with it may keep masks")


KEEPING = {"generator": {**LOW["generator"], "crop_n_layers": 1}, "output": {"candidates": True}}
STABLER = Thinning(stability_score_thresh=0.9, box_nms_thresh=0.9, min_mask_region_area=3)


@pytest.fixture(scope="module")
def keeping(tmp_path_factory):
    """Likewise, of an output that keeps its candidates."""
    root = tmp_path_factory.mktemp("keeping")
    draw_photographs(root / "photos", 3)
    (root / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff")
    run(job_config(root / "photos", root / "out", **KEEPING))
    return root


def test_of_kept_candidates_any_stricter_filter_gives_the_rows_of_a_run(keeping, tmp_path):
    report = filter_output(at(keeping / "out"), str(tmp_path / "stabler"), STABLER)
    run(job_config(keeping / "photos", tmp_path / "run", **{**KEEPING, "generator": settings_of(STABLER)}))
    assert stored(tmp_path / "stabler") == stored(tmp_path / "run")
    assert report.masks > 0
    assert report.notes == []


def settings_of(thinning):
    return {**KEEPING["generator"], **thinning.settings}


def stored(folder):
    """All rows, with their candidates."""
    output = at(folder)
    parts = output.whole_parts(output.require_plan(), output.done(), schema.CANDIDATE_SCHEMA)
    return [row for part in parts for row in part.to_pylist()]


def test_candidates_are_kept_by_a_filter_so_that_another_one_is_exact(keeping, tmp_path):
    filter_output(at(keeping / "out"), str(tmp_path / "step"), Thinning(max_masks_per_image=2, min_mask_area=9))
    filter_output(at(tmp_path / "step"), str(tmp_path / "two steps"), STABLER)
    at_once = replace(STABLER, max_masks_per_image=2, min_mask_area=9)
    filter_output(at(keeping / "out"), str(tmp_path / "at once"), at_once)
    assert stored(tmp_path / "two steps") == stored(tmp_path / "at once")


def test_masks_that_gave_pixels_away_keep_no_candidates(keeping, tmp_path):
    filter_output(at(keeping / "out"), str(tmp_path / "owned"), Thinning(one_owner=True))
    assert {row["candidates"] for row in stored(tmp_path / "owned")} == {None}
    with pytest.raises(ConfigError, match=r"box_nms_thresh: .*output.candidates=true keeps them"):
        filter_output(at(tmp_path / "owned"), str(tmp_path / "again"), Thinning(box_nms_thresh=0.5))


def test_an_output_keeps_candidates_of_all_its_images_or_of_none(keeping):
    with pytest.raises(FingerprintError, match=r"output.candidates: there true, now false"):
        run(job_config(keeping / "photos", keeping / "out", generator=KEEPING["generator"]))


def test_what_failed_before_is_no_failure_of_a_filter(root):
    report = filtered(root)
    assert isinstance(report, Summary)
    assert (report.status["failed"], report.exit_code) == (1, ExitCode.OK)
