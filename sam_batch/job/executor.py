"""Who runs the stages: the protocol, and the plain loop. Ray's executor lies in `sam_batch.job.ray_executor`."""

import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
from rich.console import Console

from sam_batch.job.cluster import usable_cpus
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import SegmentStage, draw_in_vain, load, open_segment_stage, write
from sam_batch.output.parts import Receipt


class Answer(NamedTuple):
    """What a function returned on one node.

    Attributes:
        node: The host's name.
        text: Its answer.
    """

    node: str
    text: str


class Executor(Protocol):
    """Runs shards through load, segment and write."""

    def on_gpus(self, work: Callable[..., str], *arguments: Any, console: Console, wait_seconds: float) -> list[Answer]:
        """Call a function once on each node with a GPU, where its processes will run engines; return its answers.

        Args:
            work: Takes the arguments and `console`, which is None on other nodes.
            arguments: Of the function.
            console: For what is done in this process.
            wait_seconds: For a GPU that others hold; how long the function then takes is not bounded.

        Raises:
            JobError: A GPU does not come free, or the function does not end; names the node.
        """
        ...

    def run(self, job: JobSpec, shards: Iterable[pa.Table], *, again: bool) -> Generator[Receipt, None, None]:
        """Work through shards, in any order; a shard whose worker dies again and again is left out. Closing it ends it.

        Args:
            job: The job.
            shards: `schema.PLAN_SCHEMA`, one table a shard.
            again: The shards are committed already; these of their images are done once more.

        Raises:
            JobError: No worker can start, or nothing moves any more.
        """
        ...

    def segment_one_by_one(self, job: JobSpec, images: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Load and segment single images, each in a worker's hands alone; what kills its worker is left out.

        Args:
            job: The job.
            images: `schema.PLAN_SCHEMA`, one row each.
        """
        ...

    def last_words(self) -> Mapping[int, str]:
        """What broken engines said of images that the last `segment_one_by_one` left out, by image_id, if anything."""
        ...

    def write(self, job: JobSpec, table: pa.Table, *, again: bool) -> Receipt | None:
        """Draw one image after the other and commit the shard, as `stages.write` does; None if its worker died of it.

        Raises:
            StorageError: The output cannot be written.
        """
        ...

    def can_draw(self, job: JobSpec, table: pa.Table) -> bool:
        """Whether a worker survives drawing the pictures of this one segmented image; none is written."""
        ...


class InlineExecutor:
    """A plain loop in this process: for few images, for tests, for a debugger. A crash ends it."""

    def on_gpus(self, work: Callable[..., str], *arguments: Any, console: Console, wait_seconds: float) -> list[Answer]:
        """See `Executor.on_gpus`; whether there is a GPU, and whether it is free, the function finds out."""
        return [Answer(platform.node(), work(*arguments, console=console))]

    def run(self, job: JobSpec, shards: Iterable[pa.Table], *, again: bool) -> Generator[Receipt, None, None]:
        """See `Executor.run`."""
        with closing(_open_segment_stage(job)) as segment:
            for shard in shards:
                yield write(segment(load(shard, job)), job, again=again)

    def segment_one_by_one(self, job: JobSpec, images: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """See `Executor.segment_one_by_one`."""
        with closing(_open_segment_stage(job)) as segment:
            for image in images:
                yield segment(load(image, job))

    def last_words(self) -> Mapping[int, str]:
        """See `Executor.last_words`; here an engine that breaks ends the job."""
        return {}

    def write(self, job: JobSpec, table: pa.Table, *, again: bool) -> Receipt | None:
        """See `Executor.write`."""
        return write(table, job, again=again, threads=1)

    def can_draw(self, job: JobSpec, table: pa.Table) -> bool:
        """See `Executor.can_draw`."""
        draw_in_vain(table, job)
        return True


def _open_segment_stage(job: JobSpec) -> SegmentStage:
    """With torch's own number of threads, but no more than a container's quota pays for."""
    import torch  # here, where an engine is needed: Ray's loaders and writers import this module, and do without

    return open_segment_stage(job, min(torch.get_num_threads(), usable_cpus()))
