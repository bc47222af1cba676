"""The plain loop does what Ray does; `ray/test_executor.py` compares the two."""

import time

import pyarrow as pa
import pytest
import torch
from support.jobs import draw_photographs, job_config

from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.engine.fake import FakeEngine
from sam_batch.job import executor as executor_module
from sam_batch.job import pictures
from sam_batch.job.executor import InlineExecutor
from sam_batch.job.spec import JobSpec
from sam_batch.output import schema


@pytest.fixture
def job(tmp_path):
    draw_photographs(tmp_path / "photos", 3)
    return JobSpec(job_config(tmp_path / "photos", tmp_path / "out"), FAKE, FakeChoice())


def shard(tmp_path, *numbers):
    rows = [
        {"shard": numbers[0], "image_id": number, "key": f"{number}", "uri": str(tmp_path / f"photos/{number:03}.jpg")}
        for number in numbers
    ]
    return pa.Table.from_pylist(rows, schema=schema.PLAN_SCHEMA)


def test_shards_are_committed_one_after_the_other(job, tmp_path):
    receipts = InlineExecutor(pytest.fail).run(job, [shard(tmp_path, 0, 1), shard(tmp_path, 2)], again=False)
    assert next(receipts).images == 2
    assert [path.name for path in (tmp_path / "out/annotations").iterdir()] == ["part-00000.parquet"]
    assert [receipt.shard for receipt in receipts] == [2]


def test_single_images_are_segmented_and_not_committed(job, tmp_path):
    tables = list(InlineExecutor(pytest.fail).isolated(job, again=False).segment([shard(tmp_path, 1)]))
    assert [result.ref.image_id for table in tables for result in schema.table_to_results(table)] == [1]
    assert not (tmp_path / "out").exists()


def test_a_shard_is_written_and_an_image_drawn_in_this_process(job, tmp_path):
    isolated = InlineExecutor(pytest.fail).isolated(job, again=False)
    (segmented,) = isolated.segment([shard(tmp_path, 1)])
    assert isolated.can_draw(segmented)
    assert not (tmp_path / "out").exists()
    assert isolated.write(segmented).images == 1
    assert len(list((tmp_path / "out/color_masks").iterdir())) == 1


def test_a_writer_that_is_to_survive_draws_one_image_at_a_time(job, tmp_path, monkeypatch):
    at_once, most = [], []

    def draw(result, data, job):
        at_once.append(result)
        most.append(len(at_once))
        time.sleep(0.05)
        at_once.remove(result)
        return []

    isolated = InlineExecutor(pytest.fail).isolated(job, again=False)
    images = list(isolated.segment([shard(tmp_path, 0), shard(tmp_path, 1)]))
    monkeypatch.setattr(pictures, "draw", draw)
    isolated.write(pa.concat_tables(images))
    assert most == [1, 1]


def test_the_engine_is_closed_when_a_stage_raises(job, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(FakeEngine, "close", lambda engine: closed.append(engine))
    monkeypatch.setattr(executor_module, "load", lambda *_: 1 / 0)
    executor = InlineExecutor(pytest.fail)
    shards = [shard(tmp_path, 0)]
    for work in (executor.run(job, shards, again=False), executor.isolated(job, again=False).segment(shards)):
        with pytest.raises(ZeroDivisionError):
            list(work)
    assert len(closed) == 2


def test_an_engine_has_no_more_threads_than_this_process_may_use(job, monkeypatch):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 96)
    monkeypatch.setattr(executor_module, "usable_cpus", lambda: 4)
    assert list(InlineExecutor(pytest.fail).run(job, [], again=False)) == []
    assert given == [4]
