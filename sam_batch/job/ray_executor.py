"""The stages on Ray Data: CPU loaders, an actor pool with an engine each, CPU writers.

A shard travels as one row: its table as an Arrow stream. So no stage, whatever its batch size or Ray's idea of a good
block, can ever split or join shards.

Ray's defaults retry for ever. Here a dead worker's shard is tried again a bounded number of times and then left out,
and a stream in which nothing moves ends with an error.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import GetTimeoutError, NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError
from ray.util.annotations import RayDeprecationWarning
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from sam_batch.errors import EngineError, JobError, StorageError
from sam_batch.job.boundary import describe
from sam_batch.job.cluster import Resources, usable_cpus
from sam_batch.job.executor import Answer
from sam_batch.job.pictures import IO_THREADS
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import Ticket, draw_in_vain, load, open_segment_stage, write
from sam_batch.output.parts import Receipt
from sam_batch.records import Stage

RETRIES = 2  # of a shard whose worker died
WORKER_RESTARTS = 100  # of one actor in one stream, or as many as its shards can cause: not for ever
SOON = 30  # seconds in which a free GPU is ours; after that somebody is told what is waited for

_ONE_ROW: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
_TASK: dict[str, Any] = {"num_cpus": 1, "max_retries": RETRIES}


class RayExecutor:
    """Runs the stages on the Ray that this process is connected to."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._last_words: Any = None

    def on_gpus(self, work: Callable[..., str], *arguments: Any, console: Console, wait_seconds: float) -> list[Answer]:
        """See `Executor.on_gpus`. One node of each kind goes first: nodes that share its folder find its work."""
        console.print("asking the nodes with a GPU; engines that are to be built there take minutes", highlight=False)
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
        kinds = {_gpu_kind(node): node for node in reversed(nodes)}
        first = list(kinds.values())
        rest = [node for node in nodes if node not in first]
        return [
            answer
            for wave in (first, rest)
            for answer in _answers([_Asked(node, work, arguments) for node in wave], console, wait_seconds)
        ]

    def run(self, job: JobSpec, shards: Iterable[pa.Table], *, again: bool) -> Generator[Receipt, None, None]:
        """See `Executor.run`."""
        with _explained():
            segmented = self._segmented(job, shards, in_flight=None)
            stream = _map(segmented, _write_row, fn_kwargs={"job": job, "again": again}, **_TASK)
            for table in _rows(stream):
                for receipt in table.to_pylist():
                    yield Receipt(**receipt)

    def segment_one_by_one(self, job: JobSpec, images: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """See `Executor.segment_one_by_one`."""
        self._last_words = ray.remote(num_cpus=0)(_LastWords).remote()
        with _explained():
            # One task at a time on an actor: when it dies, nobody else's image was in its hands.
            yield from _rows(self._segmented(job, images, in_flight=1))

    def last_words(self) -> Mapping[int, str]:
        """See `Executor.last_words`."""
        try:
            words: dict[int, str] = ray.get(self._last_words.all.remote())
        except RayError:  # it lay on a node that died
            return {}
        return words

    def write(self, job: JobSpec, table: pa.Table, *, again: bool) -> Receipt | None:
        """See `Executor.write`."""
        row = _in_a_worker(job, _write_row, _pack(table), job, again, threads=1)
        if row is None:
            return None
        receipt = Receipt(**_unpack(row).to_pylist()[0])
        if receipt.error:
            raise StorageError(receipt.error)
        return receipt

    def can_draw(self, job: JobSpec, table: pa.Table) -> bool:
        """See `Executor.can_draw`."""
        return _in_a_worker(job, _draw_row, _pack(table), job) is not None

    def _segmented(self, job: JobSpec, shards: Iterable[pa.Table], in_flight: int | None) -> Any:
        _set_context(job)
        actors = self._actor_count(job)
        packed = [_pack(shard) for shard in shards]
        pool = ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=in_flight)
        loaded = _map(ray.data.from_arrow(packed), _load_row, fn_kwargs={"job": job}, **_TASK)
        return _map(
            loaded,
            _SegmentActor,
            fn_constructor_args=(job, self._threads(job, actors), self._last_words),
            compute=pool,
            # On one machine an engine takes no slot, or a machine with few cores would have none left to load.
            num_cpus=0 if self._resources.is_local else 1,
            num_gpus=1 if job.engine.on_gpu else None,
            # Ray Data never replaces an actor that has used them up.
            max_restarts=max(WORKER_RESTARTS, (RETRIES + 1) * len(packed)),
            max_task_retries=RETRIES,
        )

    def _actor_count(self, job: JobSpec) -> int:
        if job.config.run.actors != "auto":
            return job.config.run.actors
        return max(1, self._resources.gpus if job.engine.on_gpu else self._resources.nodes)

    def _threads(self, job: JobSpec, actors: int) -> int | None:
        """CPU threads of one engine; None leaves it to the engine."""
        if job.engine.on_gpu:
            return None
        here = usable_cpus() if self._resources.is_local else self._resources.cpus
        return max(1, here // actors)


class _Asked:
    """A node that is asked, through an actor: one starts when it has its GPU, and unlike a task's that can be seen."""

    def __init__(self, node: dict[str, Any], work: Callable[..., str], arguments: tuple[Any, ...]) -> None:
        self.name: str = node["NodeManagerHostname"]
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        self._actor = ray.remote(num_gpus=1, num_cpus=0)(_OnGpu).options(scheduling_strategy=here).remote()
        self.started = self._actor.__ray_ready__.remote()
        self._answer = self._actor.call.remote(work, arguments)

    def answer(self) -> Answer:
        """When the work is done."""
        try:
            return Answer(self.name, ray.get(self._answer))
        except RayError as error:
            raise JobError(f"{self.name}: {_cause(error)}") from error


class _OnGpu:
    """Holds a GPU of a node."""

    def call(self, work: Callable[..., str], arguments: tuple[Any, ...]) -> str:
        return work(*arguments, console=None)


def _answers(asked: list[_Asked], console: Console, wait_seconds: float) -> list[Answer]:
    if waiting := _without_gpu(asked, min(SOON, wait_seconds)):
        told = f"waiting for a GPU, which another job may hold: {', '.join(waiting)}"
        console.print(told, highlight=False, soft_wrap=True)
        if waiting := _without_gpu(asked, wait_seconds - SOON):
            raise JobError(
                f"no GPU came free within {wait_seconds:g} s on {', '.join(waiting)}; end what holds it, "
                "or raise run.stall_timeout_seconds"
            )
    return [one.answer() for one in asked]


def _without_gpu(asked: list[_Asked], seconds: float) -> list[str]:
    """The names of nodes that got none within this time."""
    names = {one.started: one.name for one in asked}
    _, waiting = ray.wait(list(names), num_returns=len(names), timeout=max(0, seconds))
    return [names[one] for one in waiting]


def _gpu_kind(node: dict[str, Any]) -> str:
    """As Ray names it, such as accelerator_type:H100."""
    return next((name for name in node["Resources"] if name.startswith("accelerator_type:")), "")


class _SegmentActor:
    """An engine in a Ray actor. An engine that breaks takes its process with it, and Ray starts another."""

    def __init__(self, job: JobSpec, threads: int | None, last_words: Any) -> None:
        self._segment = open_segment_stage(job, threads)
        self._last_words = last_words

    def __call__(self, row: pa.Table) -> pa.Table:
        try:
            return _pack(self._segment(_unpack(row)))
        except EngineError as error:
            try:
                self._say(describe(Stage.SEGMENT, error).message, _unpack(row))
            finally:
                os._exit(1)  # an exception would leave this actor, with its broken engine, in the pool

    def _say(self, words: str, shard: pa.Table) -> None:
        sys.stderr.write(f"engine broken, worker ends: {words}\n")
        sys.stderr.flush()
        if self._last_words is not None:
            ray.get(self._last_words.say.remote(shard["image_id"].to_pylist(), words))


class _LastWords:
    """A Ray actor that keeps what workers said before they ended: their processes take everything else with them."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}

    def say(self, image_ids: list[int], words: str) -> None:
        self._said |= dict.fromkeys(image_ids, words)

    def all(self) -> dict[int, str]:
        return self._said


def _load_row(row: pa.Table, job: JobSpec) -> pa.Table:
    return _pack(load(_unpack(row), job))


def _write_row(row: pa.Table, job: JobSpec, again: bool, threads: int = IO_THREADS) -> pa.Table:
    """Write a shard; what must end the job travels in the receipt, since Ray drops tasks that raise."""
    table = _unpack(row)
    try:
        receipt = write(table, job, again=again, threads=threads)
    except StorageError as error:
        receipt = Receipt(Ticket.of(table).shard, error=str(error))
    return _pack(pa.Table.from_pylist([asdict(receipt)]))


def _draw_row(row: pa.Table, job: JobSpec) -> bool:
    draw_in_vain(_unpack(row), job)
    return True


def _in_a_worker(job: JobSpec, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The answer of a task that runs by itself, or None if its worker died each time."""
    task = ray.remote(**_TASK)(work).remote(*arguments, **options)
    try:
        return ray.get(task, timeout=job.config.run.stall_timeout_seconds)
    except (WorkerCrashedError, OutOfMemoryError, NodeDiedError):
        return None
    except GetTimeoutError as error:
        raise JobError("a shard's writer did not end within run.stall_timeout_seconds") from error
    except RayError as error:
        raise JobError(_cause(error)) from error


def _map(stream: Any, stage: Any, **options: Any) -> Any:
    """`map_batches`, without its warning that the bounds on retries will move in Ray 2.64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return stream.map_batches(stage, **_ONE_ROW, **options)


def _pack(table: pa.Table) -> pa.Table:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue()
    offsets = pa.array([0, stream.size], pa.int64()).buffers()[1]
    return pa.table({"shard": pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, stream])})


def _unpack(row: pa.Table) -> pa.Table:
    return pa.ipc.open_stream(row["shard"][0].as_buffer()).read_all()


def _rows(stream: Any) -> Iterator[pa.Table]:
    """What comes out of a stream, as it comes."""
    for batch in stream.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for start in range(batch.num_rows):
            yield _unpack(batch.slice(start, 1))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Ray's errors while a stream is made and worked through, as errors of the job."""
    try:
        yield
    except ExecutionTimeoutError as error:
        raise JobError(
            "no shard moved within run.stall_timeout_seconds: a worker hangs, or no CPU or GPU is free for one"
        ) from error
    except RayError as error:
        raise JobError(_cause(error)) from error


def _cause(error: BaseException) -> str:
    """The innermost reason in the words of whoever raised it, without Ray's boiler-plate."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("sam_batch.errors.")]
    return ours[-1].partition(": ")[2] if ours else lines[-1] if lines else type(error).__name__


def _set_context(job: JobSpec) -> None:
    """Must be set before a dataset is made: it keeps a copy."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = job.config.run.verbose
    context.print_on_execution_start = job.config.run.verbose
    context.execution_no_progress_timeout_s = job.config.run.stall_timeout_seconds
    context.max_errored_blocks = -1  # the shards that are missing are counted and done again by the caller
    context.target_max_block_size = None
