"""The formats an output can be written in beside its own parts: the protocol of one, and the list of them.

Parts are pushed, in the order of the plan, to all exports at once, so that each is read once. Another format is a file
of its own and a line in `FORMATS`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pkgutil import resolve_name
from typing import NamedTuple, Protocol

import pyarrow as pa

from sam_batch.config import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, OutputError
from sam_batch.output import lease
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan
from sam_batch.wording import counted


class Export(Protocol):
    """One format on its way."""

    def add(self, part: pa.Table) -> None:
        """Take a part: `output.schema.ANNOTATION_SCHEMA`.

        Raises:
            StorageError: A file cannot be written.
        """
        ...

    def finish(self) -> list[str]:
        """Write what is left, once all parts were added.

        Returns:
            The keys written. One of the format's marks comes into being last of them.
        """
        ...


class Format(NamedTuple):
    """One format, as the job and the command line reach it.

    Attributes:
        open: Names, as `module:function`, what opens an `Export` for as long as a `with` lasts, of a storage,
            `OutputConfig` and the plan: a name, since a format may need packages that others do without.
        marks: Keys of which one exists exactly when the export is complete.
    """

    open: str
    marks: tuple[str, ...]


FORMATS = {
    "coco": Format("sam_batch.export.coco:open_coco", ("coco/annotations.json", "coco/annotations-00000.json")),
}


def require_known(names: Iterable[str]) -> None:
    """Refuse a format that is none of `FORMATS`.

    Raises:
        ConfigError: Names it.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"output.exports: {name!r} is no format; there are {', '.join(FORMATS)}")


def is_complete(name: str, storage: Storage) -> bool:
    """Whether an output holds all that an export wrote, and not what an interruption left."""
    return any(storage.exists(mark) for mark in FORMATS[name].marks)


def export_finished(output: Output, names: Sequence[str], config: OutputConfig) -> list[str]:
    """Write some formats of an output whose shards are all done, as its job would have.

    Args:
        output: Of any job.
        names: Of formats.
        config: Their settings; the rest of it is not looked at.

    Returns:
        The keys written.

    Raises:
        ConfigError: A format is unknown.
        OutputError: There is no job, it is not finished, or somebody works on it.
        JobError: A part is not of its plan.
        StorageError: A file cannot be read or written.
    """
    require_known(names)
    plan, done = output.require_plan(), output.done()
    missing = plan.pending(done)
    if missing:
        raise OutputError(
            f"output.uri: {len(missing)} of {counted(plan.shard_count, 'shard')} not done yet; a run finishes them, "
            "and an export of the others would be taken for the whole"
        )
    holding = lease.acquire(output.storage)
    try:
        with open_exports(names, output.storage, config, plan) as exports:
            for part in output.parts(plan, done):
                for export in exports:
                    export.add(part)
            return [key for export in exports for key in export.finish()]
    finally:
        holding.release()


@contextmanager
def open_exports(names: Sequence[str], storage: Storage, config: OutputConfig, plan: Plan) -> Iterator[list[Export]]:
    """Start some formats; what they hold outside of the storage is gone when the `with` ends."""
    with ExitStack() as stack:
        openers: list[Callable[[Storage, OutputConfig, Plan], AbstractContextManager[Export]]]
        openers = [resolve_name(FORMATS[name].open) for name in names]
        yield [stack.enter_context(opener(storage, config, plan)) for opener in openers]
