"""A killer image costs one row; if workers die whatever they are given, it is not the images."""

import json
from collections import Counter

import pyarrow as pa
import pytest
from support.jobs import job_config, rows
from support.results import result_of

from sam_batch.data.storage import open_storage
from sam_batch.engine.choice import FakeChoice
from sam_batch.engine.fake import WEIGHTS as FAKE
from sam_batch.errors import JobError, OutageError
from sam_batch.job.executor import InlineExecutor, Lost
from sam_batch.job.second_pass import CONTROLS, second_pass
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Ticket
from sam_batch.output import parts as commit
from sam_batch.output import schema
from sam_batch.records import Failure, FailureKind, ImageRef, ImageResult, Prompt, Stage


class Workers:
    """An executor whose workers die of images by name, and all of them once a number of images was segmented.

    `short` and `draw_short` say how often they die of an image that then goes well.
    """

    def __init__(
        self, killers="", draw_killers="", unreadable="", lifetime=100, words=None, writes=100, short=(), draw_short=()
    ):
        self.killers, self.draw_killers, self.unreadable = killers, draw_killers, unreadable
        self.lifetime, self.words, self.writes = lifetime, words or {}, writes
        self.short, self.draw_short = Counter(short), Counter(draw_short)

    def isolated(self, job, *, again):
        self.inline = InlineExecutor(pytest.fail).isolated(job, again=again)
        return self

    def segment(self, images):
        lost = []
        for image in images:
            row = image.to_pylist()[0]
            if row["key"] in self.unreadable:
                failure = Failure(Stage.LOAD, FailureKind.NOT_AN_IMAGE, "no picture")
                result = ImageResult.failed(ImageRef(row["image_id"], row["key"], row["uri"]), failure)
            elif row["key"] in self.killers or self.lifetime == 0 or is_left(self.short, row["key"]):
                lost.append(Lost(row["image_id"], self.words.get(row["image_id"], "")))
                continue
            else:
                self.lifetime -= 1
                result = result_of(row["key"], [], row["image_id"], (4, 4))
            ticket = Ticket(row["shard"], 1.0, 2.0, [f"slow on {row['key']}"], ["kernel"])
            yield ticket.attach(schema.segmented_to_table([(result, b"")]))
        yield from lost

    def write(self, table):
        if self.writes == 0 or not all(self.can_draw(table.slice(row, 1)) for row in range(len(table))):
            return None
        self.writes -= 1
        return self.inline.write(table)

    def can_draw(self, table):
        (row,) = table.select(["key", "status"]).to_pylist()
        dies = row["key"] in self.draw_killers or is_left(self.draw_short, row["key"])
        return row["status"] == "failed" or not dies


def is_left(deaths, key):
    deaths[key] -= 1
    return deaths[key] >= 0


@pytest.fixture
def job(tmp_path):
    pictures = {"color_masks": {"enabled": False}, "segments": {"enabled": False}}
    config = job_config(tmp_path / "photos", tmp_path / "out", output={"uri": str(tmp_path / "out"), **pictures})
    return JobSpec(config, FAKE, FakeChoice())


def shard(number, *keys):
    rows = [
        {"shard": number, "image_id": 10 * number + place, "key": key, "uri": f"file:///{key}"}
        for place, key in enumerate(keys)
    ]
    return pa.Table.from_pylist(rows, schema=schema.PLAN_SCHEMA)


def ended(folder):
    return [(row["key"], row["status"], row["error"] and row["error"]["kind"]) for row in rows(folder)]


@pytest.fixture
def committed(job):
    """An earlier shard with an image that went well."""
    commit_good(job, "good")


def commit_good(job, *keys):
    storage = open_storage(job.config.output.uri, job.config.storage)
    results = [result_of(key, [], 90 + place, (4, 4)) for place, key in enumerate(keys)]
    commit.commit(storage, commit.Receipt.of(9, results, (0, 0, 0)), results, {}, replace=False)


def test_what_kills_its_worker_again_is_a_failed_row_among_its_neighbours(job, tmp_path):
    receipts = list(second_pass(Workers(killers="b"), job, [shard(0, "a", "b", "c")], again=False))
    assert [(one.shard, one.empty, one.failed) for one in receipts] == [(0, 2, 1)]
    assert ended(tmp_path / "out") == [("a", "empty", None), ("b", "failed", "worker_crash"), ("c", "empty", None)]


def test_the_prompts_of_an_image_that_kills_its_worker_fail_with_it(job, tmp_path):
    asked = Prompt(box=(1.0, 2.0, 3.0, 4.0), prompt_id="7", category="cup")
    rows_ = [schema.plan_row(ImageRef(number, key, key, prompts=(asked,))) for number, key in enumerate("abc")]
    (receipt,) = second_pass(Workers(killers="b"), job, [pa.concat_tables(rows_)], again=False)
    assert receipt.failed == 1
    (prompt,) = rows(tmp_path / "out")[1]["prompts"]
    assert (prompt["prompt_id"], prompt["category"], prompt["status"]) == ("7", "cup", "failed")
    assert prompt["failure"] == {"kind": "image_failed", "message": "its image failed: worker_crash"}


def test_rows_keep_the_plans_order_and_times_and_notes_add_up(job, tmp_path):
    (receipt,) = second_pass(Workers(), job, [shard(0, "a", "b", "c")], again=False)
    assert [row["image_id"] for row in rows(tmp_path / "out")] == [0, 1, 2]
    assert (receipt.load_seconds, receipt.segment_seconds) == (3.0, 6.0)
    assert receipt.notes == ["slow on a", "slow on b", "slow on c"]
    assert receipt.postprocessing == ["kernel"]


def test_a_row_repeats_what_a_broken_engine_said(job, tmp_path):
    list(second_pass(Workers(killers="b", words={1: "out of memory"}), job, [shard(0, "a", "b")], again=False))
    assert rows(tmp_path / "out")[1]["error"]["message"] == "its worker died each time it was tried: out of memory"


def test_if_not_one_image_survives_the_job_fails_and_commits_nothing(job, tmp_path):
    with pytest.raises(JobError, match="every worker died"):
        list(second_pass(Workers(killers="ab"), job, [shard(0, "a", "b")], again=False))
    assert rows(tmp_path / "out") == []


def test_an_image_that_never_reached_an_engine_shows_nothing_about_engines(job):
    with pytest.raises(JobError, match="every worker died"):
        list(second_pass(Workers(killers="a", unreadable="b"), job, [shard(0, "a", "b")], again=False))


def test_a_shard_of_killers_alone_is_believed_where_a_good_image_goes_well_again(job, committed, tmp_path):
    (receipt,) = second_pass(Workers(killers="ab"), job, [shard(1, "a", "b")], again=False)
    assert receipt.failed == 2
    assert json.loads((tmp_path / "out/metrics/part-00001.json").read_text())["failures"] == {"worker_crash": 2}


def test_a_good_image_whose_file_is_gone_shows_nothing_about_workers(job, tmp_path):
    commit_good(job, "gone", "lost", "good")
    (receipt,) = second_pass(Workers(killers="a", unreadable=["gone", "lost"]), job, [shard(1, "a")], again=False)
    assert receipt.failed == 1
    with pytest.raises(JobError, match="every worker died"):
        list(second_pass(Workers(killers=["b", "lost"], unreadable=["gone"]), job, [shard(2, "b")], again=False))


def test_not_every_good_image_is_tried(job):
    gone = [str(number) for number in range(CONTROLS)]
    commit_good(job, *gone, "good")
    with pytest.raises(JobError, match="every worker died"):
        list(second_pass(Workers(killers="a", unreadable=gone), job, [shard(1, "a")], again=False))


def test_a_shortage_that_passed_is_held_against_no_image(job, tmp_path):
    (receipt,) = second_pass(Workers(short="bc"), job, [shard(0, "a", "b", "c")], again=False)
    assert (receipt.empty, receipt.failed) == (3, 0)
    (receipt,) = second_pass(Workers(draw_short="ee"), job, [shard(1, "d", "e")], again=False)
    assert (receipt.empty, receipt.failed) == (2, 0)


class Preempted(Workers):
    """Whose nodes are lost a number of times, with all images in their hands."""

    def __init__(self, times, **deaths):
        super().__init__(**deaths)
        self.times = times

    def segment(self, images):
        self.times -= 1
        if self.times >= 0:
            return (Lost(image["image_id"][0].as_py(), "", excused=True) for image in images)
        return super().segment(images)


def test_nodes_that_are_lost_are_held_against_no_image(job, tmp_path):
    list(second_pass(Preempted(15, killers="b"), job, [shard(0, "a", "b", "c")], again=False))
    assert ended(tmp_path / "out") == [("a", "empty", None), ("b", "failed", "worker_crash"), ("c", "empty", None)]


def test_nodes_that_are_lost_again_and_again_end_the_job(job, tmp_path):
    with pytest.raises(JobError, match="nodes were lost 20 times in a row"):
        list(second_pass(Preempted(20), job, [shard(0, "a")], again=False))
    assert ended(tmp_path / "out") == []


def test_what_is_lost_again_is_blamed_only_if_workers_live_still(job, tmp_path):
    with pytest.raises(JobError, match="every worker died"):
        list(second_pass(Workers(killers="b", lifetime=2), job, [shard(0, "a", "b")], again=False))
    assert ended(tmp_path / "out") == []


def test_a_device_that_died_after_some_shards_fails_the_job_and_no_image(job, committed, tmp_path):
    dead = Workers(lifetime=0, words={10: "cuda failed: unspecified launch failure"})
    with pytest.raises(JobError, match=r"every worker died.*unspecified launch failure"):
        list(second_pass(dead, job, [shard(1, "a", "b"), shard(2, "c")], again=False))
    assert ended(tmp_path / "out") == [("good", "empty", None)]


def test_a_device_that_dies_amidst_the_second_pass_fails_the_job_and_no_image(job, tmp_path):
    with pytest.raises(JobError, match="every worker died"):
        list(second_pass(Workers(lifetime=2), job, [shard(0, "a", "b", "c")], again=False))
    assert ended(tmp_path / "out") == []


def test_an_image_that_kills_its_writer_is_a_failed_row_among_its_neighbours(job, tmp_path):
    list(second_pass(Workers(draw_killers="b"), job, [shard(0, "a", "b", "c")], again=False))
    assert ended(tmp_path / "out") == [("a", "empty", None), ("b", "failed", "worker_crash"), ("c", "empty", None)]
    row = rows(tmp_path / "out")[1]
    assert row["error"]["stage"] == "write"
    assert (row["height"], row["width"], row["sha256"]) == (4, 4, "0" * 64)


def test_if_no_image_can_be_drawn_the_job_fails_unless_a_good_one_can(job, committed, tmp_path):
    with pytest.raises(JobError, match="every worker died in stage write"):
        list(second_pass(Workers(draw_killers=["a", "good"]), job, [shard(0, "a")], again=False))
    assert ended(tmp_path / "out") == [("good", "empty", None)]
    list(second_pass(Workers(draw_killers="a"), job, [shard(0, "a")], again=False))
    assert ended(tmp_path / "out") == [("a", "failed", "worker_crash"), ("good", "empty", None)]


def test_a_shard_that_kills_its_writers_as_a_whole_alone_fails_the_job(job, tmp_path):
    with pytest.raises(JobError, match=r"shard 3: .*none of its images alone"):
        list(second_pass(Workers(writes=0), job, [shard(3, "a", "b")], again=False))
    assert ended(tmp_path / "out") == []


def test_there_may_be_nothing_to_do(job):
    assert list(second_pass(Workers(), job, [], again=False)) == []


def test_a_store_that_is_gone_is_held_against_no_image(tmp_path):
    class Stranded(Workers):
        def segment(self, images):
            return (Ticket(0, outage="stale").attach(schema.segmented_to_table([])) for _ in images)

    job = JobSpec(job_config("in", tmp_path / "out"), FAKE, FakeChoice())
    shard = pa.Table.from_pylist([{"shard": 0, "image_id": 0, "key": "a", "uri": "a"}], schema=schema.PLAN_SCHEMA)
    with pytest.raises(OutageError, match="stale"):
        list(second_pass(Stranded(), job, [shard], again=False))
    assert not (tmp_path / "out").exists()
