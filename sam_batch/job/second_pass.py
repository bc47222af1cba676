"""The second pass: shards that never came back go through image by image, so that one killer image costs one row.

Workers do all that may kill: this process only puts rows together. That a worker died is held against its image only
if workers live otherwise: an image that went well before has to go well once more. Then what was lost is tried again,
since a shortage may have passed, and only what is lost again is `failed`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.data.storage import open_storage
from sam_batch.errors import JobError, OutageError
from sam_batch.job.executor import LOST_NODES, Executor, Isolated, Lost
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Ticket
from sam_batch.output import layout, schema
from sam_batch.output.parts import Receipt
from sam_batch.output.plan import committed_shards
from sam_batch.records import Failure, FailureKind, ImageResult, PixelNote, Stage, Status

SHARDS_AT_ONCE = 8  # their encoded bytes and masks are on the driver while they are put together
ATTEMPTS = 2  # of an image, before its workers' deaths are held against it
CONTROLS = 5  # images that went well before, tried until one can still be loaded


def second_pass(executor: Executor, job: JobSpec, shards: Iterable[pa.Table], *, again: bool) -> Iterator[Receipt]:
    """Segment the images of the missing shards one by one, put the shards together and have them written.

    Args:
        executor: Who runs the stages.
        job: The job.
        shards: `schema.PLAN_SCHEMA`, the shards no worker could finish.
        again: The shards are committed already; these images are done once more.

    Raises:
        JobError: Workers die whatever they are given: it is not the images.
        StorageError: The output cannot be written.
        OutageError: A store does not answer; what was not yielded is still to do.
    """
    isolated = executor.isolated(job, again=again)
    rest = iter(shards)
    while some := list(islice(rest, SHARDS_AT_ONCE)):
        done = _segmented(isolated, job, [image for shard in some for image in _single(shard)])
        for shard in some:
            yield _written(isolated, job, _whole_shard(shard, done))


def _segmented(isolated: Isolated, job: JobSpec, images: Sequence[pa.Table]) -> Mapping[int, pa.Table]:
    """Each image's row by its id: `failed` if workers die of it."""
    done: dict[int, pa.Table] = {}
    words: dict[int, str] = {}
    lost = images
    for _ in range(ATTEMPTS):
        for answer in _answers(isolated, lost):
            if isinstance(answer, Lost):
                words |= {answer.image_id: answer.words} if answer.words else {}
            else:
                done[_image_id(answer)] = answer
        lost = [image for image in lost if _image_id(image) not in done]
        if not lost:
            return done
        _check_workers(isolated, job, Stage.SEGMENT, done.values(), next(iter(words.values()), ""))
    crashed = [_crashed(image, Stage.SEGMENT, words.get(_image_id(image), "")) for image in lost]
    return done | {_image_id(row): row for row in crashed}


def _answers(isolated: Isolated, images: Sequence[pa.Table]) -> Iterator[pa.Table | Lost]:
    """What comes of the images one by one, as long as their store answers; what is lost with a node is tried again."""
    for _ in range(LOST_NODES):
        excused: set[int] = set()
        for answer in isolated.segment(images):
            if isinstance(answer, Lost) and answer.excused:
                excused.add(answer.image_id)
                continue
            if not isinstance(answer, Lost) and (outage := Ticket.of(answer).outage):
                raise OutageError(outage)
            yield answer
        images = [image for image in images if _image_id(image) in excused]
        if not images:
            return
    raise JobError(
        f"nodes were lost {LOST_NODES} times in a row while single images were tried; those are still to do, and the "
        "same command goes on with them"
    )


def _written(isolated: Isolated, job: JobSpec, shard: pa.Table) -> Receipt:
    receipt = isolated.write(shard)
    if receipt is None:
        receipt = isolated.write(_without_killers(isolated, job, shard))
    if receipt is None:
        raise JobError(
            f"shard {Ticket.of(shard).shard}: every worker died that wrote it, but of none of its images alone: "
            "more memory may help (output.segments.pack=tar holds the whole tar)"
        )
    return receipt


def _without_killers(isolated: Isolated, job: JobSpec, shard: pa.Table) -> pa.Table:
    """The shard, `failed` where workers die while they draw an image's pictures."""
    rows = _single(shard)
    lives = [isolated.can_draw(row) for row in rows]
    if not all(lives):
        drawn = (row for row, live in zip(rows, lives, strict=True) if live)
        _check_workers(isolated, job, Stage.WRITE, drawn)
        lives = [live or isolated.can_draw(row) for row, live in zip(rows, lives, strict=True)]
    left = [row if live else _crashed(row, Stage.WRITE) for row, live in zip(rows, lives, strict=True)]
    return Ticket.of(shard).attach(pa.concat_tables([row.replace_schema_metadata(None) for row in left]))


def _check_workers(
    isolated: Isolated, job: JobSpec, stage: Stage, survivors: Iterable[pa.Table], cause: str = ""
) -> None:
    """Raise JobError unless an image that went well before goes well in this stage once more."""
    known_good = chain.from_iterable(map(_good_images, chain(survivors, _parts(job))))
    for image in islice(known_good, CONTROLS):
        passed = [answer for answer in _answers(isolated, [image]) if not isinstance(answer, Lost)]
        if passed and not _good_images(passed[0]):
            continue  # its file may be gone: that shows nothing about workers
        if passed and (stage is Stage.SEGMENT or isolated.can_draw(passed[0])):
            return
        break
    reason = cause or "see the workers' logs (run.verbose=true)"
    raise JobError(f"every worker died in stage {stage}, whatever image it was given: {reason}")


def _parts(job: JobSpec) -> Iterator[pa.Table]:
    storage = open_storage(job.config.output.uri, job.config.storage)
    for shard in sorted(committed_shards(storage)):
        yield schema.read_part(storage.read(layout.part_key(layout.ANNOTATIONS, shard)))


def _good_images(results: pa.Table) -> list[pa.Table]:
    """The images that did not fail, each as a row of a plan."""
    good = results.filter(pc.not_equal(results["status"], Status.FAILED.value))
    return [schema.plan_row(ref) for ref in schema.refs(good)]


def _whole_shard(shard: pa.Table, done: Mapping[int, pa.Table]) -> pa.Table:
    """A shard's rows put together again, in the plan's order."""
    rows = [done[image_id] for image_id in shard["image_id"].to_pylist()]
    tickets = [Ticket.of(row) for row in rows if row.schema.metadata]
    ticket = Ticket(
        shard["shard"][0].as_py(),
        load_seconds=sum(one.load_seconds for one in tickets),
        segment_seconds=sum(one.segment_seconds for one in tickets),
        notes=[note for one in tickets for note in one.notes],
        postprocessing=list(dict.fromkeys(way for one in tickets for way in one.postprocessing)),
    )
    return ticket.attach(pa.concat_tables([row.replace_schema_metadata(None) for row in rows]))


def _single(table: pa.Table) -> list[pa.Table]:
    return [table.slice(row, 1) for row in range(table.num_rows)]


def _image_id(table: pa.Table) -> int:
    image_id: int = table["image_id"][0].as_py()
    return image_id


def _crashed(image: pa.Table, stage: Stage, words: str = "") -> pa.Table:
    """The `failed` row of a planned or segmented image, with what the table knows of it."""
    (ref,) = schema.refs(image)
    known = {"height", "width", "sha256"}.intersection(image.column_names)
    about: dict[str, Any] = {name: image[name][0].as_py() for name in known}
    if "notes" in image.column_names:
        about["notes"] = tuple(map(PixelNote, image["notes"][0].as_py() or ()))
    message = ": ".join(filter(None, ["its worker died each time it was tried", words]))
    result = ImageResult.failed(ref, Failure(stage, FailureKind.WORKER_CRASH, message), **about)
    return schema.segmented_to_table([(result, b"")])
