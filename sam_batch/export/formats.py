"""The formats an output can be written in beside its own parts: the protocol of one, and the list of them.

Parts are pushed, in the order of the plan, to all exports at once, so that each is read once. Another format is a file
of its own, a line in `FORMATS`, and one in `output.layout.EXPORTS` that says which names it writes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from threading import Lock
from typing import Any, Final, Protocol, TypeAlias

import pyarrow as pa

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, JobError, OutputError
from sam_batch.output import claims, layout, lease, ownership
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan


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
            The keys for a user to look at; the number of files may be that of the images.
        """
        ...


Opener: TypeAlias = Callable[[Storage, OutputConfig, Plan], AbstractContextManager[Export]]

FORMATS: Final = {
    "coco": "sam_batch.export.coco:open_coco",
    "coco-images": "sam_batch.export.coco:open_coco_images",
    "yolo": "sam_batch.export.yolo:open_yolo",
    "hf": "sam_batch.export.hf:open_hf",
    "cvat": "sam_batch.export.presets:open_cvat",
    "datumaro": "sam_batch.export.presets:open_datumaro",
    "detectron2": "sam_batch.export.presets:open_detectron2",
    "mmdet": "sam_batch.export.presets:open_mmdet",
    "transformers": "sam_batch.export.presets:open_transformers",
    "label-studio": "sam_batch.export.label_studio:open_label_studio",
    "labelme": "sam_batch.export.labelme:open_labelme",
    "geojson": "sam_batch.export.geojson:open_geojson",
    "coco-panoptic": "sam_batch.export.panoptic:open_panoptic",
    "webdataset": "sam_batch.export.webdataset:open_webdataset",
    "sa1b": "sam_batch.export.sa1b:open_sa1b",
    "amg": "sam_batch.export.amg:open_amg",
    "failures": "sam_batch.export.failures:open_failures",
}
"""What opens an `Export` for as long as a `with` lasts, an `Opener`, as `module:function`: a format may need packages
that others do without."""


def require_known(names: Iterable[str]) -> None:
    """Refuse a format that is none of `FORMATS`.

    Raises:
        ConfigError: Names it.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"output.exports: {name!r} is no format; there are {', '.join(FORMATS)}")


def unwritten(names: Iterable[str], storage: Storage, config: OutputConfig) -> list[str]:
    """Those of some formats that an output does not hold whole, as these settings make them."""
    return [name for name in names if not claims.is_complete(storage, name, _settings(name, config))]


def _settings(name: str, config: OutputConfig) -> dict[str, Any]:
    """What a format was or will be made with: what differs from the defaults, so that keys may be added."""
    section = getattr(config, name.removesuffix("-images").replace("-", "_"), None)
    own = section.model_dump(mode="json", exclude={"enabled"}, exclude_defaults=True) if section else {}
    about = config.dataset.model_dump(mode="json", exclude_defaults=True)
    return own | ({"dataset": about} if about else {})


def export_output(output: Output, names: Sequence[str], config: OutputConfig, *, unfinished: bool = False) -> list[str]:
    """Write some formats of an output whose shards are all done, as its job would have.

    Args:
        output: Of any job.
        names: Of formats.
        config: Their settings; the rest of it is not looked at.
        unfinished: Whether to write those of a part of the shards, too: the receipts say that they are not the whole,
            and the job writes them anew when it ends.

    Returns:
        The keys written.

    Raises:
        ConfigError: A format is unknown.
        OutputError: There is no job, it is not finished, or somebody works on it.
        JobError: A part is not of its plan.
        StorageError: A file cannot be read or written.
    """
    require_known(names)
    plan = output.require_plan()
    done = output.done() if unfinished else output.require_finished(plan)
    holding = lease.acquire(output.storage)
    try:
        with open_exports(names, output.storage, config, plan) as exports:
            for part in output.parts(plan, done):
                exports.add(part)
            return exports.finish(complete=not plan.pending(done))
    finally:
        holding.release()


@contextmanager
def open_exports(names: Sequence[str], storage: Storage, config: OutputConfig, plan: Plan) -> Iterator["Exports"]:
    """Start some formats anew; what they hold outside of the storage is gone when the `with` ends.

    Raises:
        JobError: Files of their names are there, and are not ours.
    """
    try:
        ownership.refuse_unclaimed(storage, names, plan.rows)
    except OutputError as error:
        raise JobError(str(error)) from error
    with ExitStack() as stack:
        opened = {}
        for name in names:
            opener: Opener = resolve_name(FORMATS[name])
            place = _Place(storage, partial(_begin, storage, plan, name, _settings(name, config)))
            opened[name] = stack.enter_context(opener(place, config, plan)), place
        yield Exports(opened, storage, config)


class _Place(Storage):
    """Where a format writes: its first file takes the place of all that the format wrote before.

    So what was there stays as long as it is whole. COCO mostly is a single file, which is then exchanged at once.

    Args:
        storage: The output.
        begin: Called with the first file's key, or none, before it is written.
    """

    def __init__(self, storage: Storage, begin: Callable[[str | None], None]) -> None:
        super().__init__(storage.root, storage.config)
        self._storage, self._begin, self._lock, self._has_begun = storage, begin, Lock(), False

    def begin(self, key: str | None = None) -> None:
        """Put away what was there, unless that was done."""
        with self._lock:  # some formats write by several threads
            if not self._has_begun:
                self._begin(key)
            self._has_begun = True

    def write(self, key: str, data: bytes) -> None:
        """See `Storage.write`."""
        self.begin(key)
        self._storage.write(key, data)

    def replace(self, key: str, data: bytes) -> None:
        """See `Storage.replace`."""
        self.begin(key)
        self._storage.replace(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """See `Storage.put_file`."""
        self.begin(key)
        self._storage.put_file(key, path)

    def link(self, key: str, uri: str) -> None:
        """See `Storage.link`."""
        self.begin(key)
        self._storage.link(key, uri)


def _begin(storage: Storage, plan: Plan, name: str, settings: Mapping[str, Any], key: str | None) -> None:
    ownership.withdraw_exports(storage, plan, [name], kept=key)
    _sign(storage, name, settings, complete=False)


class Exports:
    """Some formats on their way."""

    def __init__(self, exports: Mapping[str, tuple[Export, _Place]], storage: Storage, config: OutputConfig) -> None:
        self._exports, self._storage, self._config = exports, storage, config

    def add(self, part: pa.Table) -> None:
        """Push a part to all; see `Export.add`."""
        for export, _ in self._exports.values():
            export.add(part)

    def finish(self, *, complete: bool = True) -> list[str]:
        """Complete all; see `Export.finish`. A format's receipt says so once its files are safe, if they are all."""
        keys = []
        for name, (export, place) in self._exports.items():
            keys += export.finish()
            place.begin()  # of no image, some formats write nothing
            self._storage.flush()
            _sign(self._storage, name, _settings(name, self._config), complete=complete)
        return keys


def _sign(storage: Storage, name: str, settings: Mapping[str, Any], *, complete: bool) -> None:
    key, receipt = layout.receipt_key(name), claims.written(name, settings, complete=complete)
    ownership.put_over_own(storage, key, receipt, claims.is_receipt)
