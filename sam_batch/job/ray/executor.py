"""The stages on Ray Data: CPU loaders, an actor pool with an engine each, CPU writers.

A shard travels as one row (`job.pack`), so that nothing of Ray's can split or join shards.

Ray's defaults retry for ever. Here a dead worker's shard is tried again a bounded number of times and then left out,
and a stream in which nothing moves ends with an error.
"""

import os
import platform
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import GetTimeoutError, NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError
from ray.util.annotations import RayDeprecationWarning
from rich.console import Console

from sam_batch.errors import EngineError, JobError, StorageError
from sam_batch.job.boundary import describe
from sam_batch.job.deadline import worker_deadline
from sam_batch.job.executor import LOST_NODES, Answer, Isolated, Lost
from sam_batch.job.machine import usable_cpus
from sam_batch.job.pack import pack, unpack
from sam_batch.job.pictures import redraw
from sam_batch.job.ray.cluster import Resources
from sam_batch.job.ray.errors import cause, explained
from sam_batch.job.ray.gpus import call_on_gpus
from sam_batch.job.ray.metrics import RayMetrics
from sam_batch.job.ray.nodes import call_on_nodes
from sam_batch.job.ray.witness import LastWords, has_stalled, heard, timed_out, watched
from sam_batch.job.room import IO_THREADS
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Ticket, draw_in_vain, load, open_segment_stage, write
from sam_batch.job.stopped import end_when_stopped
from sam_batch.output.parts import Receipt
from sam_batch.records import Stage

# Ray Data takes all of a stream's input at its beginning, and keeps what it notes of blocks until its end: a long job
# is several streams, one after the other. Each begins with new actors, which cost as much as some dozen shards.
SHARDS_PER_ACTOR = 4096
RETRIES = 2  # of a shard whose worker died
WORKER_RESTARTS = 100  # of one actor in one stream, or as many as its shards can cause: not for ever

_ONE_ROW: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
_TASK: dict[str, Any] = {"num_cpus": 1, "max_retries": RETRIES}


class RayExecutor:
    """Runs the stages on the Ray that this process is connected to."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    @property
    def is_cluster(self) -> bool:
        """See `Executor.is_cluster`."""
        return not self._resources.is_local

    def on_nodes(self, work: Callable[[Any, int], Any], argument: Any, failed: Callable[[str], Any]) -> list[Answer]:
        """See `Executor.on_nodes`."""
        return call_on_nodes(work, argument, failed)

    def on_gpus(self, work: Callable[..., Any], *arguments: Any, console: Console, wait_seconds: float) -> list[Answer]:
        """See `Executor.on_gpus`. One node of each kind goes first: nodes that share its folder find its work."""
        console.print("asking the nodes with a GPU; engines that are to be built there take minutes", highlight=False)
        return call_on_gpus(work, arguments, console, wait_seconds)

    def run(self, job: JobSpec, shards: Iterable[pa.Table], *, again: bool) -> Generator[Receipt, None, None]:
        """See `Executor.run`."""
        rest, metrics = iter(shards), RayMetrics(job.config.output.uri)
        _, most = self._pool(job)
        with explained():
            while some := list(islice(rest, most * SHARDS_PER_ACTOR)):
                segmented = self.segmented(job, some, in_flight=None)
                stream = _map(segmented, _write_row, fn_kwargs={"job": job, "again": again}, **self._task())
                for table in _rows(stream):
                    for receipt in table.to_pylist():
                        metrics.add(Receipt(**receipt))
                        yield Receipt(**receipt)

    def redraw(self, job: JobSpec, shards: Iterable[pa.Table]) -> Generator[Receipt, None, None]:
        """See `Executor.redraw`."""
        _set_context(job)
        rest = iter(shards)
        with explained():
            while some := list(islice(rest, SHARDS_PER_ACTOR)):
                packed = ray.data.from_arrow([pack(shard) for shard in some])
                for table in _rows(_map(packed, _redraw_row, fn_kwargs={"job": job}, **self._task())):
                    for receipt in table.to_pylist():
                        yield Receipt(**receipt)

    def isolated(self, job: JobSpec, *, again: bool) -> Isolated:
        """See `Executor.isolated`."""
        return RayIsolated(self, job, again)

    def segmented(self, job: JobSpec, shards: Iterable[pa.Table], in_flight: int | None, last_words: Any = None) -> Any:
        """A Ray dataset of packed shards after load and segment.

        Args:
            job: The job.
            shards: `schema.PLAN_SCHEMA`, one table a shard.
            in_flight: Shards that an actor is given at once; None is Ray's choice.
            last_words: A `LastWords` actor.
        """
        _set_context(job)
        least, most = self._pool(job)
        packed = [pack(shard) for shard in shards]
        pool = ray.data.ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=in_flight)
        about = {"job": job, "last_words": last_words}
        loaded = _map(ray.data.from_arrow(packed), _load_row, fn_kwargs=about, **self._task())
        return _map(
            loaded,
            SegmentActor,
            fn_constructor_args=(job, self._threads(job, most), last_words),
            compute=pool,
            num_cpus=self._slots(most),
            num_gpus=1 if job.engine.on_gpu else None,
            # Ray Data never replaces an actor that has used them up.
            max_restarts=max(WORKER_RESTARTS, (RETRIES + 1) * len(packed)),
            max_task_retries=RETRIES,
        )

    def _task(self) -> dict[str, Any]:
        """What Ray is asked for a loader or a writer; the pixels that it holds at once fit into that memory."""
        memory = self._resources.task_memory
        return _TASK | ({"memory": memory} if memory else {})

    def _pool(self, job: JobSpec) -> tuple[int, int]:
        """The least and the most engines."""
        wanted = job.config.run
        here = self._resources.gpus if job.engine.on_gpu else self._resources.nodes
        least = max(1, here) if wanted.actors == "auto" else wanted.actors
        return least, max(least, wanted.max_actors or least)

    def _slots(self, actors: int) -> int:
        """Of CPUs that an engine takes: none where loaders and writers would have less than one each."""
        return 0 if self._resources.is_local or actors + 2 > self._resources.cpus else 1

    def _threads(self, job: JobSpec, actors: int) -> int | None:
        """CPU threads of one engine; None leaves it to the engine."""
        if job.engine.on_gpu:
            return None
        here = usable_cpus() if self._resources.is_local else self._resources.cpus
        return max(1, here // actors)


class RayIsolated:
    """Single images on the same stages; see `Isolated`."""

    def __init__(self, executor: RayExecutor, job: JobSpec, again: bool) -> None:
        self._executor = executor
        self._job = job
        self._again = again
        self._metrics = RayMetrics(job.config.output.uri)
        self._last_words = ray.remote(num_cpus=0)(LastWords).remote()

    def segment(self, images: Sequence[pa.Table]) -> Iterator[pa.Table | Lost]:
        """See `Isolated.segment`."""
        lost = [image["image_id"][0].as_py() for image in images]
        dead = _dead_nodes()
        with explained():
            # One task at a time on an actor: when it dies, nobody else's image was in its hands.
            for table in _rows(self._executor.segmented(self._job, images, 1, self._last_words)):
                lost.remove(table["image_id"][0].as_py())
                yield table
        if lost:
            words = heard(self._last_words)
            excused = _dead_nodes() != dead
            yield from (Lost(image_id, words.get(image_id, ""), excused) for image_id in lost)

    def write(self, table: pa.Table) -> Receipt | None:
        """See `Isolated.write`."""
        row = in_a_worker(self._job, _write_row, pack(table), self._job, self._again, threads=1)
        if row is None:
            return None
        receipt = Receipt(**unpack(row).to_pylist()[0])
        if receipt.error:
            raise StorageError(receipt.error)
        self._metrics.add(receipt)
        return receipt

    def can_draw(self, table: pa.Table) -> bool:
        """See `Isolated.can_draw`."""
        return in_a_worker(self._job, _draw_row, pack(table), self._job) is not None


class SegmentActor:
    """An engine in a Ray actor. An engine that breaks takes its process with it, and Ray starts another."""

    def __init__(self, job: JobSpec, threads: int | None, last_words: Any) -> None:
        end_when_stopped()
        self.segment = open_segment_stage(job, threads)
        self._seconds = job.config.run.image_timeout_seconds
        self._last_words = last_words

    def __call__(self, row: pa.Table) -> pa.Table:
        """Segment a packed shard."""
        table = unpack(row)
        try:
            if has_stalled(self._last_words, table, Stage.SEGMENT):
                return pack(timed_out(table, Stage.SEGMENT))
            with watched(self._last_words, table, Stage.SEGMENT, self._seconds) as renew:
                return pack(self.segment(table, renew))
        except EngineError as error:
            try:
                self._say(describe(Stage.SEGMENT, error).message, table)
            finally:
                os._exit(1)  # an exception would leave this actor, with its broken engine, in the pool

    def _say(self, words: str, shard: pa.Table) -> None:
        sys.stderr.write(f"engine broken, worker ends: {words}\n")
        sys.stderr.flush()
        if self._last_words is not None:
            ray.get(self._last_words.say.remote(shard["image_id"].to_pylist(), words))


def _load_row(row: pa.Table, job: JobSpec, last_words: Any) -> pa.Table:
    shard = unpack(row)
    if has_stalled(last_words, shard, Stage.LOAD):
        return pack(timed_out(shard, Stage.LOAD))
    with watched(last_words, shard, Stage.LOAD, job.config.run.image_timeout_seconds) as renew:
        return pack(load(shard, job, renew, at_once=1))  # it is one of as many as there are CPUs


def _write_row(row: pa.Table, job: JobSpec, again: bool, threads: int = IO_THREADS) -> pa.Table:
    """Write a shard; what must end the job travels in the receipt, since Ray drops tasks that raise."""
    table = unpack(row)
    try:
        with worker_deadline(job.config.run.image_timeout_seconds) as renew:
            receipt = write(table, job, again=again, threads=threads, renew=renew)
    except StorageError as error:
        receipt = Receipt(Ticket.of(table).shard, error=f"{error} (on {platform.node()})")
    return pack(pa.Table.from_pylist([asdict(receipt)]))


def _redraw_row(row: pa.Table, job: JobSpec) -> pa.Table:
    """Draw what a shard lacks; as of `_write_row`."""
    shard = unpack(row)
    try:
        with worker_deadline(job.config.run.image_timeout_seconds) as renew:
            receipt = redraw(shard, job, renew)
    except StorageError as error:
        receipt = Receipt(shard["shard"][0].as_py(), error=f"{error} (on {platform.node()})")
    return pack(pa.Table.from_pylist([asdict(receipt)]))


def _draw_row(row: pa.Table, job: JobSpec) -> bool:
    with worker_deadline(job.config.run.image_timeout_seconds):
        draw_in_vain(unpack(row), job)
    return True


def in_a_worker(job: JobSpec, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The answer of a task that runs by itself, or None if its worker died each time, and not with its node."""
    for _ in range(LOST_NODES):
        dead = _dead_nodes()
        task = ray.remote(**_TASK)(work).remote(*arguments, **options)
        try:
            return ray.get(task, timeout=job.config.run.stall_timeout_seconds)
        except NodeDiedError:
            continue
        except (WorkerCrashedError, OutOfMemoryError):
            if _dead_nodes() == dead:
                return None
        except GetTimeoutError as error:
            raise JobError("a shard's writer did not end within run.stall_timeout_seconds") from error
        except RayError as error:
            raise JobError(cause(error)) from error
    raise JobError(f"nodes were lost {LOST_NODES} times in a row while a shard was written; it is still to do")


def _dead_nodes() -> set[str]:
    """Nodes that were lost, by crash or preemption, since the cluster began."""
    return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}


def _map(stream: Any, stage: Any, **options: Any) -> Any:
    """`map_batches`, without its warning that the bounds on retries will move in Ray 2.64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return stream.map_batches(stage, **_ONE_ROW, **options)


def _rows(stream: Any) -> Iterator[pa.Table]:
    """What comes out of a stream, as it comes."""
    for batch in stream.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for start in range(batch.num_rows):
            yield unpack(batch.slice(start, 1))


def _set_context(job: JobSpec) -> None:
    """Must be set before a dataset is made: it keeps a copy."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = job.config.run.verbose
    context.print_on_execution_start = job.config.run.verbose
    context.execution_no_progress_timeout_s = job.config.run.stall_timeout_seconds
    context.max_errored_blocks = -1  # the shards that are missing are counted and done again by the caller
    context.target_max_block_size = None
