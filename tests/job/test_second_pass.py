"""A killer image costs one row; if nothing survives, it is not the images."""

import json

import pyarrow as pa
import pytest
from support.jobs import job_config, rows
from support.results import result_of

from sam_batch.data import schema
from sam_batch.engine.choice import EngineChoice
from sam_batch.errors import JobError
from sam_batch.job.second_pass import second_pass
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Ticket
from sam_batch.model.names import FAKE


class Survivors:
    """An executor whose workers die of the named images."""

    def __init__(self, killers):
        self.killers = killers

    def segment_one_by_one(self, job, images):
        for image in images:
            row = image.to_pylist()[0]
            if row["key"] not in self.killers:
                result = result_of(row["key"], [], row["image_id"], (4, 4))
                ticket = Ticket(row["shard"], 1.0, 2.0, [f"slow on {row['key']}"])
                yield ticket.attach(schema.segmented_to_table([(result, b"")]))


@pytest.fixture
def job(tmp_path):
    pictures = {"color_masks": {"enabled": False}, "segments": {"enabled": False}}
    config = job_config(tmp_path / "photos", tmp_path / "out", output={"uri": str(tmp_path / "out"), **pictures})
    return JobSpec(config, FAKE, EngineChoice("fake", "fp32", "cpu"))


def shard(number, *keys):
    rows = [
        {"shard": number, "image_id": 10 * number + place, "key": key, "uri": f"file:///{key}"}
        for place, key in enumerate(keys)
    ]
    return pa.Table.from_pylist(rows, schema=schema.PLAN_SCHEMA)


def test_what_kills_its_worker_again_is_a_failed_row_among_its_neighbours(job, tmp_path):
    receipts = list(second_pass(Survivors({"b"}), job, [shard(0, "a", "b", "c")], again=False, any_survived=False))
    assert [(one.shard, one.empty, one.failed) for one in receipts] == [(0, 2, 1)]
    ended = [(row["key"], row["status"], row["error"] and row["error"]["kind"]) for row in rows(tmp_path / "out")]
    assert ended == [("a", "empty", None), ("b", "failed", "worker_crash"), ("c", "empty", None)]


def test_rows_keep_the_plans_order_and_times_and_notes_add_up(job, tmp_path):
    (receipt,) = second_pass(Survivors(set()), job, [shard(0, "a", "b", "c")], again=False, any_survived=False)
    assert [row["image_id"] for row in rows(tmp_path / "out")] == [0, 1, 2]
    assert (receipt.load_seconds, receipt.segment_seconds) == (3.0, 6.0)
    assert receipt.notes == ["slow on a", "slow on b", "slow on c"]


def test_if_not_one_image_survives_the_job_fails_and_commits_nothing(job, tmp_path):
    with pytest.raises(JobError, match="every worker died"):
        list(second_pass(Survivors({"a", "b"}), job, [shard(0, "a", "b")], again=False, any_survived=False))
    assert rows(tmp_path / "out") == []


def test_a_shard_of_killers_alone_is_believed_where_other_shards_were_finished(job, tmp_path):
    (receipt,) = second_pass(Survivors({"a", "b"}), job, [shard(1, "a", "b")], again=False, any_survived=True)
    assert receipt.failed == 2
    assert json.loads((tmp_path / "out/metrics/part-00001.json").read_text())["failures"] == {"worker_crash": 2}


def test_there_may_be_nothing_to_do(job):
    assert list(second_pass(Survivors(set()), job, [], again=False, any_survived=False)) == []
