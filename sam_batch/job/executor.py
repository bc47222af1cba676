"""Who runs the stages: the protocols, and the plain loop. Ray's executor lies in `sam_batch.job.ray.executor`."""

import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
from rich.console import Console

from sam_batch.data.storage import shown
from sam_batch.job.deadline import Watchdog
from sam_batch.job.decoders import sandboxes
from sam_batch.job.machine import usable_cpus
from sam_batch.job.pictures import redraw
from sam_batch.job.spec import JobSpec
from sam_batch.job.stages import SegmentStage, draw_in_vain, load, open_segment_stage, write
from sam_batch.output.parts import Receipt

LOST_NODES = 20  # in a row, while the same image is tried: preemptions are no image's fault, but they must end


class Answer(NamedTuple):
    """What a function returned on one node.

    Attributes:
        node: The host's name.
        value: Its answer.
    """

    node: str
    value: Any


class Lost(NamedTuple):
    """An image that no worker survived.

    Attributes:
        image_id: Its number in the plan.
        words: What a broken engine said of it; empty where nothing was heard.
        excused: A node was lost meanwhile, so that it proves nothing about the image.
    """

    image_id: int
    words: str
    excused: bool = False


class Isolated(Protocol):
    """Works on one image at a time, so that a worker that dies shows of which."""

    def segment(self, images: Sequence[pa.Table]) -> Iterator[pa.Table | Lost]:
        """Load and segment single images, each in a worker's hands alone.

        Args:
            images: `schema.PLAN_SCHEMA`, one row each.

        Yields:
            What was segmented, in any order, and then what was lost.
        """
        ...

    def write(self, table: pa.Table) -> Receipt | None:
        """Draw one image after the other and commit the shard, as `stages.write` does; None if its worker died of it.

        Raises:
            StorageError: The output cannot be written.
        """
        ...

    def can_draw(self, table: pa.Table) -> bool:
        """Whether a worker survives drawing the pictures of this one segmented image; none is written."""
        ...


class Executor(Protocol):
    """Runs shards through load, segment and write."""

    @property
    def is_cluster(self) -> bool:
        """Whether others than this machine may run them."""
        ...

    def on_nodes(self, work: Callable[[Any, int], Any], argument: Any, failed: Callable[[str], Any]) -> list[Answer]:
        """Call a function once on each node of a cluster, at the same time; return the answers.

        Args:
            work: Takes the argument, and the number of GPUs that its node has.
            argument: Of the function.
            failed: The answer for a node that could not call it or did not end in time, from the reason in words.
        """
        ...

    def on_gpus(self, work: Callable[..., Any], *arguments: Any, console: Console, wait_seconds: float) -> list[Answer]:
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

    def redraw(self, job: JobSpec, shards: Iterable[pa.Table]) -> Generator[Receipt, None, None]:
        """Draw what committed shards lack, as `pictures.redraw` does, in any order; one whose worker dies is left out.

        Args:
            job: The job; of pictures, those to draw are enabled.
            shards: `schema.PLAN_SCHEMA`, one table a shard.
        """
        ...

    def isolated(self, job: JobSpec, *, again: bool) -> Isolated:
        """What works on images one by one, for the second pass.

        Args:
            job: The job.
            again: As in `run`.
        """
        ...


class InlineExecutor:
    """A plain loop in this process: for few images, for tests, for a debugger. A crash ends it, but for a decoder's.

    Args:
        end_now: Ends the process with a cause, where an image never ends.
    """

    is_cluster = False

    def __init__(self, end_now: Callable[[str], None]) -> None:
        self._end_now = end_now

    def on_nodes(self, work: Callable[[Any, int], Any], argument: Any, failed: Callable[[str], Any]) -> list[Answer]:
        """See `Executor.on_nodes`; there are none."""
        return []

    def on_gpus(self, work: Callable[..., Any], *arguments: Any, console: Console, wait_seconds: float) -> list[Answer]:
        """See `Executor.on_gpus`; whether there is a GPU, and whether it is free, the function finds out."""
        return [Answer(platform.node(), work(*arguments, console=console))]

    def run(self, job: JobSpec, shards: Iterable[pa.Table], *, again: bool) -> Generator[Receipt, None, None]:
        """See `Executor.run`."""
        sandboxes().start()
        with closing(_open_segment_stage(job)) as segment:
            for shard in shards:
                with self._watched(job, shard) as renew:
                    receipt = write(segment(load(shard, job, renew), renew), job, again=again, renew=renew)
                yield receipt

    def redraw(self, job: JobSpec, shards: Iterable[pa.Table]) -> Generator[Receipt, None, None]:
        """See `Executor.redraw`."""
        for shard in shards:
            with self._watched(job, shard) as renew:
                receipt = redraw(shard, job, renew)
            yield receipt

    def isolated(self, job: JobSpec, *, again: bool) -> Isolated:
        """See `Executor.isolated`."""
        return InlineIsolated(job, again)

    def _watched(self, job: JobSpec, shard: pa.Table) -> Watchdog:
        seconds = job.config.run.image_timeout_seconds
        keys = ", ".join(map(shown, shard["key"].to_pylist()[:5]))
        cause = (
            f"no image ended within run.image_timeout_seconds = {seconds} (times its views) in shard "
            f"{shard['shard'][0].as_py()}: {keys}{', ...' if shard.num_rows > 5 else ''}; with run.executor=ray an "
            "image that hangs is set aside"
        )
        return Watchdog(seconds, lambda: self._end_now(cause))


class InlineIsolated:
    """The same loop, image by image; nothing is ever lost here: a decoder's crash is a row, others end the process."""

    def __init__(self, job: JobSpec, again: bool) -> None:
        self._job = job
        self._again = again

    def segment(self, images: Sequence[pa.Table]) -> Iterator[pa.Table | Lost]:
        """See `Isolated.segment`."""
        with closing(_open_segment_stage(self._job)) as segment:
            for image in images:
                yield segment(load(image, self._job))

    def write(self, table: pa.Table) -> Receipt | None:
        """See `Isolated.write`."""
        return write(table, self._job, again=self._again, threads=1)

    def can_draw(self, table: pa.Table) -> bool:
        """See `Isolated.can_draw`."""
        draw_in_vain(table, self._job)
        return True


def _open_segment_stage(job: JobSpec) -> SegmentStage:
    """With torch's own number of threads, but no more than a container's quota pays for."""
    import torch  # here, where an engine is needed: Ray's loaders and writers import this module, and do without

    return open_segment_stage(job, min(torch.get_num_threads(), usable_cpus()))
