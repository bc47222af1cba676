"""An output is read by one door, and every part is held against the plan."""

import json
from dataclasses import replace
from threading import Barrier

import pytest
from support.jobs import draw_photographs, job_config, run

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Entry, Storage
from sam_batch.errors import JobError, OutputError
from sam_batch.output.changes import Change, State
from sam_batch.output.output import Output, is_counted
from sam_batch.output.summary import Summary

COUNTS = ("images", "masks", "prompts", "failures", "first_failed", "pixel_notes", "counted")


@pytest.fixture
def output(tmp_path):
    draw_photographs(tmp_path / "photos", 5)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"")
    run(job_config(tmp_path / "photos", tmp_path / "out", run={"shard_size": 2, "max_failure_rate": 1.0}))
    return Output.at(str(tmp_path / "out"), StorageConfig())


def keys(output, shards):
    return [key for part in output.parts(output.plan(), shards) for key in part["key"].to_pylist()]


def test_rows_come_in_the_order_of_the_plan(output):
    assert output.done() == {0, 1, 2}
    assert keys(output, {2, 0}) == ["000.jpg", "001.jpg", "004.jpg", "bad.jpg"]


def test_failed_images_are_found_by_shard(output):
    assert [rows["key"].to_pylist() for rows in output.failed(output.plan())] == [["bad.jpg"]]


def test_a_part_of_another_shard_is_refused_by_name(output):
    part = output.storage.read("annotations/part-00000.parquet")
    output.storage.replace("annotations/part-00001.parquet", part)
    with pytest.raises(JobError, match=r"annotations/part-00001\.parquet: is of another job"):
        keys(output, {1})


def test_a_part_that_was_never_planned_is_refused(output):
    output.storage.create("annotations/part-00007.parquet", b"a part")
    with pytest.raises(JobError, match=r"part-00007\.parquet: is of another job"):
        output.refuse_foreign_parts(output.plan())


@pytest.mark.parametrize("read", [lambda output: output.metrics_of(range(3)), lambda output: keys(output, range(3))])
def test_files_of_several_shards_are_read_side_by_side(output, monkeypatch, read):
    all_of_them, read_one, plan = Barrier(3, timeout=10), Storage.read, output.plan()

    def read_together(storage, key):
        all_of_them.wait()  # or breaks, where one is read after the other
        return read_one(storage, key)

    monkeypatch.setattr(output, "plan", lambda: plan)
    monkeypatch.setattr(Storage, "read", read_together)
    assert len(list(read(output))) >= 3


def test_what_is_no_result_may_be_gone_or_damaged(output):
    assert output.metrics(0)["ok"] == 2
    output.storage.replace("metrics/part-00000.json", b"{")
    output.storage.delete("summary.json")
    assert (output.metrics(0), output.metrics(9), output.summary()) == ({}, {}, {})


def test_an_empty_place_has_no_plan(tmp_path):
    output = Output.at(str(tmp_path / "none"), StorageConfig())
    assert output.plan() is None
    with pytest.raises(OutputError, match="holds no plan of a job"):
        output.require_plan()


def test_the_counts_of_a_run_hold_as_long_as_no_part_changes(output):
    plan, summary = output.plan(), Summary("", 1.0, planned=6)
    assert is_counted(output, plan, summary)
    told = output.summary()
    assert {name: json.loads(summary.to_json())[name] for name in COUNTS} == {name: told[name] for name in COUNTS}
    part = output.storage.read("annotations/part-00000.parquet")
    output.storage.replace("annotations/part-00000.parquet", part)
    assert not is_counted(output, plan, summary)


def test_counts_do_not_hold_where_images_count_no_more_or_nobody_counted(output):
    gone = replace(output.plan(), changes={0: Change(State.GONE, 1, None)})
    assert not is_counted(output, gone, Summary("", 1.0))
    output.storage.delete("summary.json")
    assert not is_counted(output, output.plan(), Summary("", 1.0))


def test_without_the_times_of_parts_counts_are_not_told_apart(monkeypatch, output):
    monkeypatch.setattr(Storage, "list", lambda self, *_, **__: iter([Entry("annotations/part-00000.parquet", "", 1)]))
    assert output.mark(output.plan()) == ""
