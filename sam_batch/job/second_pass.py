"""The second pass: shards that never came back go through image by image, so that one killer image costs one row."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from sam_batch.data import schema
from sam_batch.errors import JobError
from sam_batch.job.commit import Receipt
from sam_batch.job.executor import Executor
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Ticket, write
from sam_batch.records import Failure, FailureKind, ImageRef, ImageResult, Stage

SHARDS_AT_ONCE = 8  # their encoded bytes and masks are on the driver while they are put together


def second_pass(
    executor: Executor, job: JobSpec, shards: Sequence[pa.Table], *, again: bool, any_survived: bool
) -> Iterator[Receipt]:
    """Segment the images of the missing shards one by one and commit the shards from here.

    Args:
        executor: Who runs the stages.
        job: The job.
        shards: `schema.PLAN_SCHEMA`, the shards no worker could finish.
        again: The shards are committed already; these images are done once more.
        any_survived: Another shard was finished, so workers can live.

    Raises:
        JobError: Not one image survived: it is not the images.
    """
    for start in range(0, len(shards), SHARDS_AT_ONCE):
        some = shards[start : start + SHARDS_AT_ONCE]
        images = [shard.slice(row, 1) for shard in some for row in range(shard.num_rows)]
        done = {_image_id(table): table for table in executor.segment_one_by_one(job, images)}
        any_survived = any_survived or bool(done)
        if not any_survived:
            raise JobError("every worker died on every image it was given; see the workers' logs (run.verbose=true)")
        for shard in some:
            yield write(_whole_shard(shard, done), job, again=again)


def _image_id(table: pa.Table) -> int:
    image_id: int = table["image_id"][0].as_py()
    return image_id


def _whole_shard(shard: pa.Table, done: dict[int, pa.Table]) -> pa.Table:
    """A shard's rows put together again, with a `failed` row for every image that did not come back."""
    rows = [
        done.get(row["image_id"]) or _crashed(ImageRef(row["image_id"], row["key"], row["uri"], row["size"]))
        for row in shard.to_pylist()
    ]
    tickets = [Ticket.of(row) for row in rows if row.schema.metadata]
    ticket = Ticket(
        shard["shard"][0].as_py(),
        load_seconds=sum(one.load_seconds for one in tickets),
        segment_seconds=sum(one.segment_seconds for one in tickets),
        notes=[note for one in tickets for note in one.notes],
    )
    return ticket.attach(pa.concat_tables([row.replace_schema_metadata(None) for row in rows]))


def _crashed(ref: ImageRef) -> pa.Table:
    failure = Failure(Stage.SEGMENT, FailureKind.WORKER_CRASH, "its worker died each time it was tried")
    return schema.segmented_to_table([(ImageResult.failed(ref, failure), b"")])
