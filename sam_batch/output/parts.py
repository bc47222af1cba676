"""The commit: a shard is done exactly when its Parquet part exists. Written last, whole, atomically, only once.

Pictures lie under names that depend on the image's key alone, so an attempt that died half-way is simply overwritten.
What it had and the next one has not, which only a GPU brings about, stays and is named by no row.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from sam_batch.data.storage import Storage
from sam_batch.errors import AlreadyExistsError
from sam_batch.output import layout, schema
from sam_batch.records import ImageResult, Status


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the writer reports of a shard, or of those of its images that were done again.

    Attributes:
        shard: Its number.
        ok: Images with masks.
        empty: Images without.
        failed: Images that could not be labelled.
        masks: In all of them.
        load_seconds: Worker time.
        segment_seconds: Likewise.
        write_seconds: Likewise.
        error: Why the shard could not be committed; empty if it was.
        outage: Why its images could not be read, which is not their fault; then nothing was committed.
        notes: What its workers warned of.
        postprocessing: How its masks were made: each way that its workers took.
        rows: What became of each image, in a few words: `key`, `status`, `masks`, and of a failure `stage`, `kind` and
            `message`, else None. For logs and counters; no file has it.
    """

    shard: int
    ok: int = 0
    empty: int = 0
    failed: int = 0
    masks: int = 0
    load_seconds: float = 0.0
    segment_seconds: float = 0.0
    write_seconds: float = 0.0
    error: str = ""
    outage: str = ""
    notes: Sequence[str] = ()
    postprocessing: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()

    @property
    def images(self) -> int:
        """How many images were done."""
        return self.ok + self.empty + self.failed

    @classmethod
    def of(
        cls,
        shard: int,
        results: Sequence[ImageResult],
        seconds: tuple[float, float, float],
        notes: Sequence[str] = (),
        postprocessing: Sequence[str] = (),
    ) -> Self:
        """Count results; the seconds are those of load, segment and write."""
        load_seconds, segment_seconds, write_seconds = seconds
        return cls(
            shard,
            **_counts(results),
            load_seconds=load_seconds,
            segment_seconds=segment_seconds,
            write_seconds=write_seconds,
            notes=notes,
            postprocessing=postprocessing,
            rows=[_in_words(result) for result in results],
        )


def _in_words(result: ImageResult) -> dict[str, Any]:
    failure = result.failure
    told = (failure.stage.value, failure.kind.value, failure.message) if failure else (None, None, None)
    about = {"key": result.ref.key, "status": result.status.value, "masks": len(result.annotations)}
    return about | dict(zip(("stage", "kind", "message"), told, strict=True))


def _counts(results: Sequence[ImageResult]) -> dict[str, Any]:
    statuses = Counter(result.status for result in results)
    counts = {status.value: statuses[status] for status in Status}
    return counts | {"masks": sum(len(result.annotations) for result in results)}


def commit(
    storage: Storage,
    receipt: Receipt,
    rows: Sequence[ImageResult],
    metadata: Mapping[str, str],
    *,
    replace: bool,
    candidates: bool = False,
) -> None:
    """Make a shard's rows visible, all at once.

    With `replace` an existing part is exchanged; otherwise the first part wins: another attempt that was faster has
    committed the same images.

    Args:
        storage: The output.
        receipt: Of the attempt.
        rows: The whole shard's, also where only some of its images were done again.
        metadata: Of the part.
        replace: As above.
        candidates: The job keeps them in its rows.
    """
    storage.write(layout.metrics_key(receipt.shard), _metrics(receipt, rows))
    part = schema.part_bytes(schema.results_to_table(rows, metadata, candidates=candidates))
    key = layout.part_key(layout.ANNOTATIONS, receipt.shard)
    if replace:
        storage.replace(key, part)
    else:
        with contextlib.suppress(AlreadyExistsError):
            storage.create(key, part)


def merge_into_part(storage: Storage, shard: int, again: Sequence[ImageResult]) -> list[ImageResult]:
    """The rows of a committed part, with those that were done again in place of the old ones."""
    part = schema.read_part(storage.read(layout.part_key(layout.ANNOTATIONS, shard)), schema.CANDIDATE_SCHEMA)
    newer = {result.ref.image_id: result for result in again}
    return [newer.get(result.ref.image_id, result) for result in schema.table_to_results(part)]


def _metrics(receipt: Receipt, rows: Sequence[ImageResult]) -> bytes:
    """The times of the attempt, the counts of the whole part."""
    failures = Counter(row.failure.kind.value for row in rows if row.failure)
    about = {key: value for key, value in asdict(receipt).items() if key not in ("error", "outage", "rows")}
    return json.dumps(about | _counts(rows) | {"failures": dict(sorted(failures.items()))}).encode()
