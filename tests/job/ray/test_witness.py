"""What is remembered of single images: who hung on them, and the row of one that too many did."""

import numpy as np
import pyarrow as pa
import pytest

from sam_batch.job.stages import Ticket
from sam_batch.output import schema
from sam_batch.records import ImageRef, LoadedImage, Stage, View

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_here")]  # imported as Ray is by the job

REF = ImageRef(7, "a.jpg", "a.jpg")


def planned():
    row = {"shard": 3, "image_id": 7, "key": "a.jpg", "uri": "a.jpg"}
    return pa.Table.from_pylist([row], schema=schema.PLAN_SCHEMA)


def loaded():
    view = View((0, 0, 4, 4), np.zeros((4, 4, 3), np.uint8))
    return Ticket(3).attach(schema.loaded_to_table([LoadedImage(REF, 4, 4, "00", b"data", (view,))]))


@pytest.mark.parametrize(("stage", "table"), [(Stage.LOAD, planned), (Stage.SEGMENT, loaded)])
def test_an_image_that_was_hung_on_is_a_failed_row_of_its_stage(stage, table):
    from sam_batch.job.ray.witness import timed_out

    failed = timed_out(table(), stage)
    (result,) = schema.table_to_loaded(failed) if stage is Stage.LOAD else schema.table_to_results(failed)
    assert (result.failure.stage, result.failure.kind) == (stage, "timed_out")
    assert Ticket.of(failed).shard == 3


def test_stalls_are_counted_by_image_and_stage():
    from sam_batch.job.ray.witness import LastWords

    words = LastWords()
    words.stalled(Stage.LOAD, 7)
    words.stalled(Stage.LOAD, 7)
    assert [words.stalls(Stage.LOAD, 7), words.stalls(Stage.SEGMENT, 7), words.stalls(Stage.LOAD, 8)] == [2, 0, 0]


def test_a_whole_shard_is_not_counted_against():
    from sam_batch.job.ray.witness import has_stalled

    assert not has_stalled(None, planned(), Stage.LOAD)


def test_a_worker_that_hangs_says_so_before_it_ends():
    import time

    import ray

    from sam_batch.job.ray.witness import LastWords, has_stalled, watched

    def hang(words, table):
        with watched(words, table, Stage.LOAD, 0.1):
            time.sleep(60)

    words = ray.remote(num_cpus=0)(LastWords).remote()
    ray.get(words.stalled.remote(Stage.LOAD, 7))
    assert not has_stalled(words, planned(), Stage.LOAD)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ray.remote(max_retries=0)(hang).remote(words, planned()), timeout=50)
    assert has_stalled(words, planned(), Stage.LOAD)
