"""Counts, text and exit code."""

import json

import pytest

from sam_batch.output import schema
from sam_batch.output.parts import Receipt
from sam_batch.output.summary import Summary
from sam_batch.records import Failure, FailureKind, ImageRef, ImageResult, PixelNote, Stage, Status


def part(*statuses):
    failure = Failure(Stage.LOAD, FailureKind.TRUNCATED, "cut")
    results = [
        ImageResult(ImageRef(0, "a", "a"), status, failure=failure if status is Status.FAILED else None)
        for status in statuses
    ]
    return schema.results_to_table(results, {})


def counted(*statuses, planned=None, **changes):
    report = Summary("out", 0.25, planned=len(statuses) if planned is None else planned, **changes)
    report.count(part(*statuses))
    return report


@pytest.mark.parametrize(
    ("report", "exit_code"),
    [
        (counted(Status.OK, Status.EMPTY), 0),
        (counted(Status.OK, Status.OK, Status.OK, Status.FAILED), 0),
        (counted(Status.OK, Status.OK, Status.FAILED), 3),
        (counted(Status.OK, planned=2), 1),
        (counted(Status.OK, error="no disk"), 1),
        (counted(Status.OK, interrupted=True, planned=2), 130),
    ],
)
def test_exit_code_says_how_the_job_ended(report, exit_code):
    assert report.exit_code == exit_code
    assert json.loads(report.to_json())["exit_code"] == exit_code


def test_parts_are_counted_anew_after_a_recount():
    report = counted(Status.OK, Status.FAILED)
    report.recount()
    for recounted in (part(Status.FAILED), part(Status.EMPTY)):
        report.count(recounted)
    assert (report.status["ok"], report.status["failed"], report.done) == (0, 1, 2)
    assert report.failures == {"truncated": 1}


def test_counts_of_another_run_are_told_as_if_all_parts_were_counted():
    report, again = counted(Status.OK, Status.FAILED), Summary("out", 0.25, planned=2)
    again.restore(json.loads(report.to_json()))
    assert again.to_text() == report.to_text()
    assert (again.status, again.prompts, again.failures) == (report.status, report.prompts, report.failures)


def test_text_names_failures_and_the_way_on():
    report = counted(Status.OK, Status.FAILED, planned=3, interrupted=True)
    report.add(Receipt(shard=0, ok=1, failed=1, load_seconds=2.0))
    text = report.to_text()
    assert "2 of 3 images done" in text
    assert "failed, truncated: 1" in text
    assert "the same command goes on" in text
    assert json.loads(report.to_json())["run"]["stage_seconds"]["load"] == 2.0


def test_text_names_the_first_five_failed_images_and_where_the_others_are():
    text = counted(*[Status.FAILED] * 6).to_text()
    assert text.count("    a: cut") == 5
    assert "    all of them: sam-batch status out --failed" in text
    assert "--failed" not in counted(*[Status.FAILED] * 5).to_text()


def test_what_decoding_lost_is_counted_by_image():
    notes = (PixelNote.PAGES_DROPPED, PixelNote.RANGE_STRETCHED)
    results = [ImageResult(ImageRef(0, "a", "a"), Status.EMPTY, notes=notes[:count]) for count in (0, 1, 2)]
    report = Summary("out", 0.25, planned=3)
    report.count(schema.results_to_table(results, {}))
    assert json.loads(report.to_json())["pixel_notes"] == {"pages_dropped": 2, "range_stretched": 1}
    assert "  pixels, pages_dropped: 2" in report.to_text()


def test_an_interrupted_run_tells_its_own_counts_from_what_is_done():
    report = Summary("out", 0.25, planned=9, done=6, interrupted=True)
    report.add(Receipt(shard=1, ok=2, failed=1, masks=7))
    assert "6 of 9 images done: in this run 2 with 7 masks, 0 without, 1 failed" in report.to_text()
