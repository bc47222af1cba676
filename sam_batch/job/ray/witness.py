"""What is known of single images on Ray beyond their workers' deaths: last words, and how often one was hung on."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import RayError

from sam_batch.job.deadline import Renew, Watchdog, worker_deadline
from sam_batch.job.stages import Ticket
from sam_batch.output import schema
from sam_batch.records import Failure, FailureKind, ImageResult, LoadedImage, Stage

STALLS = 2  # of an image alone with its worker, before it is set aside
BACKSTOP_S = 30.0  # later ends a worker that could not say that it hangs


class LastWords:
    """A Ray actor that keeps what workers said before they ended: their processes take everything else with them."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}
        self._stalls: Counter[tuple[Stage, int]] = Counter()

    def say(self, image_ids: list[int], words: str) -> None:
        """Keep what a worker says of the images in its hands."""
        self._said |= dict.fromkeys(image_ids, words)

    def all(self) -> dict[int, str]:
        """What was said, by image_id."""
        return self._said

    def stalled(self, stage: Stage, image_id: int) -> None:
        """A worker hung on an image, and ends."""
        self._stalls[stage, image_id] += 1

    def stalls(self, stage: Stage, image_id: int) -> int:
        """How many did."""
        return self._stalls[stage, image_id]


def heard(last_words: Any) -> dict[int, str]:
    """What a `LastWords` actor has heard; nothing, where it lay on a node that died."""
    try:
        words: dict[int, str] = ray.get(last_words.all.remote())
    except RayError:
        return {}
    return words


@contextlib.contextmanager
def watched(last_words: Any, table: pa.Table, stage: Stage, seconds: float) -> Iterator[Renew]:
    """Meanwhile end this worker when an image takes longer than so many seconds, times its views.

    Args:
        last_words: Is told of it first, if there is one: then the table is a single image. Code that keeps the GIL
            ends without a word, like any other worker that dies.
        table: Planned or loaded.
        stage: Of the work.
        seconds: For each view.
    """
    if last_words is None or not table.num_rows:
        with worker_deadline(seconds) as renew:
            yield renew
        return
    image_id = table["image_id"][0].as_py()

    def bark() -> None:
        try:
            ray.get(last_words.stalled.remote(stage, image_id))
        finally:
            os._exit(1)

    with worker_deadline(seconds + BACKSTOP_S) as renew_backstop, Watchdog(seconds, bark) as renew_watch:

        def renew(views: int) -> None:
            renew_backstop(views)
            renew_watch(views)

        yield renew


def has_stalled(last_words: Any, table: pa.Table, stage: Stage) -> bool:
    """Whether a table is a single image that too many workers hung on."""
    if last_words is None or not table.num_rows:
        return False
    try:
        stalls: int = ray.get(last_words.stalls.remote(stage, table["image_id"][0].as_py()))
    except RayError:  # as in `heard`
        return False
    return stalls >= STALLS


def timed_out(image: pa.Table, stage: Stage) -> pa.Table:
    """What `load` or `SegmentStage` returns of a single image that was hung on: its `failed` row."""
    failure = Failure(stage, FailureKind.TIMED_OUT, f"{STALLS} workers hung on it (run.image_timeout_seconds)")
    if stage is Stage.LOAD:
        (ref,) = schema.refs(image)
        return Ticket(image["shard"][0].as_py()).attach(schema.loaded_to_table([ImageResult.failed(ref, failure)]))
    (loaded,) = schema.table_to_loaded(image)
    if isinstance(loaded, LoadedImage):
        loaded = ImageResult.failed(
            loaded.ref,
            failure,
            height=loaded.height,
            width=loaded.width,
            sha256=loaded.sha256,
            notes=loaded.notes,
        )
    return Ticket.of(image).attach(schema.segmented_to_table([(loaded, b"")]))
