"""Whose a file in an output is. Only what is ours is ever deleted or overwritten.

Ours are the names that only this program makes, for the shards and images of the plan, and files of fixed name whose
content says so. A folder's name says nothing. What else lies in an output stays as it is; where a name is needed
and somebody else's file has it, the job is refused before it begins.

At the top of an output, names that begin with a dot do not count: the program makes none but `.tmp`, and in that only
names of its own.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config import Config
from sam_batch.data.packed import PackedTable
from sam_batch.data.storage import Entry, Storage, open_storage, read_range, shown
from sam_batch.errors import ConfigError, NotFoundError, OutputError, StorageError
from sam_batch.output import claims, layout, lease
from sam_batch.output.card import is_card
from sam_batch.output.fingerprint import value_of
from sam_batch.output.plan import Plan, read_plan

FOLDERS = (
    layout.ANNOTATIONS,  # the commits first: no moment shows results without their plan
    layout.METRICS,
    *layout.EXPORTS,
    layout.COLOR_MASKS,
    layout.LABEL_MASKS,
    layout.SEGMENTS,
)
_HEAD_BYTES = 64
_REQUESTS = 16  # in flight: object stores answer slowly, not narrowly
_LIKE_CUTOUT = r"(^|/)(0|[1-9][0-9]*)\.png$"  # keys whose folder of cut-outs is named like a cut-out
_SEAL = "# The effective configuration of the last run. Copy it to change it: an edited one is left as it is. sha256 "
_log = logging.getLogger(__name__)


class Names:
    """The names that some planned images give a job, with their shards: it writes no others below `FOLDERS`.

    Args:
        rows: Of the plan.
        fingerprint: Of its settings.
        formats: Of exports that are there, or will be.
    """

    def __init__(
        self, rows: PackedTable | pa.Table, fingerprint: Mapping[str, str], formats: Collection[str] = ()
    ) -> None:
        def is_on(picture: str) -> bool:
            return bool(value_of(fingerprint, f"output.{picture}.enabled"))

        self._rows = rows
        self.exports = layout.ExportNames(formats, self._keys)
        self._formats = formats
        self._has_cutouts = is_on("segments")
        self._are_packed = value_of(fingerprint, "output.segments.pack") == "tar"
        self._has_color_masks = is_on("color_masks")
        self._encoding: str = value_of(fingerprint, "output.color_masks.format")
        self._has_label_masks = is_on("label_masks")

    def _keys(self) -> Iterable[str]:
        return iter(self._rows["key"].to_pylist())

    @cached_property
    def shards(self) -> frozenset[int]:
        """Their numbers."""
        return frozenset(self._rows["shard"].unique().to_pylist())

    @cached_property
    def tars(self) -> frozenset[str]:
        """The keys of packed cut-outs."""
        is_packed = self._has_cutouts and self._are_packed
        return frozenset(map(layout.tar_key, self.shards)) if is_packed else frozenset()

    @cached_property
    def pictures(self) -> frozenset[str]:
        """The keys of all pictures but cut-outs."""
        colored = self._keys() if self._has_color_masks else ()
        color_masks = (layout.color_mask_key(key, self._encoding) for key in colored)
        label_masks = map(layout.label_mask_key, self._keys()) if self._has_label_masks else ()
        return frozenset(chain(color_masks, label_masks))

    @cached_property
    def cutouts(self) -> frozenset[str]:
        """The folders of cut-outs that lie one by one."""
        lie_alone = self._has_cutouts and not self._are_packed
        return frozenset(map(layout.cutouts_key, self._keys())) if lie_alone else frozenset()

    def of_images(self) -> Iterator[pa.ChunkedArray]:
        """The names of all pictures and files of single images, and the folders of cut-outs, in blocks."""
        of_image = [one for one in (layout.EXPORTS[name].of_image for name in self._formats) if one]
        for keys in self._key_blocks():
            if self._has_color_masks:
                yield layout.names_below(layout.COLOR_MASKS, keys, layout.SUFFIXES[self._encoding])
            if self._has_label_masks:
                yield layout.names_below(layout.LABEL_MASKS, keys, ".png")
            if self._has_cutouts and not self._are_packed:
                yield layout.names_below(layout.SEGMENTS, keys, "")
            if of_image:
                yield pa.chunked_array([[name for key in keys.to_pylist() for make in of_image for name in make(key)]])

    @property
    def nested(self) -> str | None:
        """A folder of cut-outs that has the name of another image's cut-out: as of `a/0.png` beside an image `a`."""
        if not self._has_cutouts:
            return None
        like_cutouts = [keys.filter(pc.match_substring_regex(keys, _LIKE_CUTOUT)) for keys in self._key_blocks()]
        inside = {
            name: layout.cutout_folder(name)
            for keys in like_cutouts
            for name in map(layout.cutouts_key, keys.to_pylist())
        }
        wanted = pa.array(set(inside.values()), pa.string())
        if not len(wanted):
            return None
        folders = (layout.names_below(layout.SEGMENTS, keys, "") for keys in self._key_blocks())
        there = {name for names in folders for name in names.filter(pc.is_in(names, value_set=wanted)).to_pylist()}
        return min((name for name, folder in inside.items() if folder in there), default=None)

    def _key_blocks(self) -> Iterator[pa.ChunkedArray]:
        blocks = self._rows.blocks(["key"]) if isinstance(self._rows, PackedTable) else [self._rows]
        return (block["key"] for block in blocks)

    def __contains__(self, key: str) -> bool:
        """Whether the job may write this key, which lies in one of `FOLDERS`."""
        if layout.part_number(key) in self.shards or key in self.pictures or key in self.tars:
            return True
        return layout.cutout_folder(key) in self.cutouts or key in self.exports


def open_output(config: Config, overwrite: str | None) -> Storage:
    """The output, if this job may use it.

    Args:
        config: The job.
        overwrite: The output's URI once more, if what is there is to be thrown away.

    Raises:
        ConfigError: `overwrite` names another place.
        OutputError: It cannot be read, or is somebody else's.
    """
    storage = open_storage(config.output.uri, config.storage)
    if overwrite is not None and open_storage(overwrite, config.storage).root != storage.root:
        raise ConfigError(f"--overwrite {overwrite}: is not the output, {config.output.uri}; name the output itself")
    try:
        if overwrite is not None:
            plan_of(storage)
        elif read_plan(storage) is None:
            try:
                refuse_foreign(storage)
            except OutputError:
                if read_plan(storage) is None:  # nor has another worker or driver planned it between the looks
                    raise
    except StorageError as error:
        raise OutputError(f"output.uri: {error}") from error
    return storage


def plan_of(storage: Storage) -> Plan:
    """The plan of an output that is to be overwritten.

    Raises:
        OutputError: It has none.
    """
    plan = read_plan(storage)
    if plan is None:
        raise OutputError(f"--overwrite: {shown(storage.root)} holds no plan of a job; it is left as it is")
    return plan


def refuse_foreign(storage: Storage) -> None:
    """Refuse an output that has no plan and yet holds something: it is somebody else's.

    Raises:
        OutputError: It does; names some of it.
    """
    there = (key for key in storage.names() if not key.startswith("."))
    some = list(islice((key for key in there if key != layout.LEASE or lease.read_holder(storage) is lease.FOREIGN), 4))
    if some:
        more = " and more" if len(some) > 3 else ""
        raise OutputError(
            f"output.uri: {shown(storage.root)} holds {', '.join(map(shown, some[:3]))}{more}, but no plan of a job: "
            f"it is not this program's, and nothing in it was touched; name an empty or a new folder, such as "
            f"{shown(storage.root)}/labels"
        )


def refuse_nested(names: Names) -> None:
    """Refuse images of which one would need another's cut-out for a folder.

    Raises:
        OutputError: Names the two.
    """
    if names.nested is not None:
        raise OutputError(
            f"output.uri: {shown(names.nested)} would be both a cut-out and a folder of cut-outs, of two images one "
            "of which is named like the other's folder; name them otherwise by a manifest with a column key, or write "
            "no cut-outs (output.segments.enabled=false)"
        )


def refuse_taken(storage: Storage, blocks: Iterable[Names], *, pictures_alone: bool = False) -> None:
    """Refuse new images, or new pictures of images, whose files would overwrite what is not ours.

    Args:
        storage: The output.
        blocks: Of them, some at a time.
        pictures_alone: The images are planned, and their rows are ours.

    Raises:
        OutputError: A file has a name of theirs; says which.
    """
    in_use = {folder for folder in FOLDERS if open_storage(f"{storage.root}/{folder}", storage.config).is_folder()}
    with ThreadPoolExecutor(_REQUESTS) as pool:
        for names in blocks if in_use else ():
            parts = [layout.part_key(layout.ANNOTATIONS, shard) for shard in names.shards]
            metrics, exports = map(layout.metrics_key, names.shards), (*names.exports.of_images, *names.exports.folders)
            wanted = [*names.tars, *names.pictures, *names.cutouts]
            wanted += [] if pictures_alone else [*parts, *metrics, *exports]
            asked = [key for key in wanted if key.partition("/")[0] in in_use]
            for taken in filter(None, pool.map(partial(_taken, storage, names), asked)):
                raise _in_the_way(storage, taken)


def _taken(storage: Storage, names: Names, key: str) -> str | None:
    """The key, or a cut-out in it, if there is one."""
    if key not in names.cutouts and key not in names.exports.folders:
        return key if storage.exists(key) else None
    inside = (entry.key for entry in storage.list(key, recursive=False))
    return next((name for name in inside if name in names), None)


def _in_the_way(storage: Storage, key: str) -> OutputError:
    return OutputError(
        f"output.uri: {shown(storage.root)}/{shown(key)} is not of this job, which would write a file of this name; "
        "move it away"
    )


def refuse_unclaimed(storage: Storage, formats: Collection[str], rows: PackedTable) -> None:
    """Refuse exports over files of their names that are not ours: in a folder that is not, or of a strange beginning.

    An interrupted run may leave a folder that is ours without a file that others call alike, such as `data.yaml`.

    Args:
        storage: The output.
        formats: To write.
        rows: All images of its plan.

    Raises:
        OutputError: Names one.
    """
    ours = claims.claimed(storage)
    for name in ours:
        for entry in storage.list(name, recursive=False) if layout.EXPORTS[name].begins else ():
            if _begins_otherwise(storage, entry):
                raise _in_the_way(storage, entry.key)
    for name in set(formats) - ours:
        names = layout.ExportNames([name], partial(rows.texts, "key"))
        for entry in storage.list(name):
            if entry.key in names or entry.key == layout.receipt_key(name):
                raise _in_the_way(storage, entry.key)


def _begins_otherwise(storage: Storage, entry: Entry) -> bool:
    """Whether this is a fixed file of an export by its name, but not by how it begins."""
    files = layout.EXPORTS[entry.key.partition("/")[0]]
    if files.begins is None or not files.fixed.fullmatch(entry.key):
        return False
    size = min(entry.size or 0, _HEAD_BYTES)
    return not (size and files.begins.match(read_range(entry.uri, storage.config, 0, size)))


def withdraw_exports(storage: Storage, plan: Plan, formats: Collection[str], *, kept: str | None = None) -> None:
    """Delete what exports wrote: it is not, or soon no longer, the whole. The receipts stay until all else is gone.

    Args:
        storage: The output.
        plan: Of the output.
        formats: The exports'.
        kept: A file that stays, since it is about to be replaced; then receipts stay too.
    """
    ours = claims.claimed(storage).intersection(formats)
    for name in ours:
        names = layout.ExportNames([name], partial(plan.rows.texts, "key"))
        receipt = claims.read(storage, name)
        if receipt is not None:
            storage.replace(layout.receipt_key(name), claims.written(name, {}, complete=False))
        for key in sorted(entry.key for entry in storage.list(name)):  # COCO's first file says that all are there
            if key in names and key != kept:
                storage.delete(key)
        if receipt is not None and kept is None:
            storage.delete(layout.receipt_key(name))


def refuse_succession(storage: Storage, plan: Plan, successor: Plan, formats: Collection[str]) -> None:
    """Refuse a job that takes the place of another and would overwrite what is of neither.

    Args:
        storage: The output.
        plan: Of the old job.
        successor: Of the new one.
        formats: That the new one exports.

    Raises:
        OutputError: A file has a name of its results; says which.
    """
    old = Names(plan.rows, plan.settings, claims.claimed(storage))
    new = Names(successor.rows, successor.fingerprint, formats)
    refuse_unclaimed(storage, formats, successor.rows)
    for key in _stored(storage):
        if key in new and key not in old:
            raise _in_the_way(storage, key)


def clear(storage: Storage, plan: Plan, successor: Plan, formats: Collection[str]) -> None:
    """Delete what a job wrote, all but the first file of its plan, to make room for another job's.

    Raises:
        OutputError: The other job would overwrite what is not ours; nothing was deleted.
    """
    refuse_succession(storage, plan, successor, formats)
    for key in own_keys(storage, plan):
        if key != layout.part_key(layout.PLAN, 0):
            storage.delete(key)


def own_keys(storage: Storage, plan: Plan) -> Iterator[str]:
    """Everything that is ours, in the order in which it can be deleted: the plan last, from its end."""
    ours = claims.claimed(storage)
    names = Names(plan.rows, plan.settings, ours)
    yield from (key for key in _stored(storage) if key in names)
    yield from (layout.receipt_key(name) for name in sorted(ours) if claims.read(storage, name) is not None)
    named = {layout.REPORT: is_report, layout.CARD: is_card, layout.SUMMARY: is_summary, layout.CONFIG: is_sealed}
    for key, is_ours in named.items():
        there = read_if_there(storage, key)
        if there is not None and is_ours(there):
            yield key
    if storage.exists(layout.CHANGES):  # `read_plan` has seen that it is one
        yield layout.CHANGES
    for number in reversed(range(plan.parts)):
        yield layout.part_key(layout.PLAN, number)


def _stored(storage: Storage) -> Iterator[str]:
    return (entry.key for folder in FOLDERS for entry in storage.list(folder))


def put_over_own(storage: Storage, key: str, data: bytes, is_ours: Callable[[bytes], bool]) -> bool:
    """Write a file of fixed name, unless another's content lies there: then that stays, with a warning, and False."""
    there = read_if_there(storage, key)
    if there is not None and not is_ours(there):
        _log.warning("%s/%s: is not as this program wrote it, and is left as it is", storage.root, key)
        return False
    if there != data:
        storage.replace(key, data)
    return True


def read_if_there(storage: Storage, key: str) -> bytes | None:
    """The content of a file; None where there is none."""
    try:
        return storage.read(key)
    except NotFoundError:
        return None


def sealed(text: str) -> bytes:
    """A configuration with a first line by which a later run knows it for its own, and sees that nobody edited it."""
    return f"{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n{text}".encode()


def is_sealed(data: bytes) -> bool:
    """Whether this is what `sealed` returned, to the byte."""
    _, _, text = data.partition(b"\n")
    return data == _SEAL.encode() + hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def is_summary(data: bytes) -> bool:
    """Whether this is a `summary.json` of this program."""
    try:
        summary = json.loads(data)
    except ValueError:
        return False
    return isinstance(summary, dict) and {"exit_code", "images", "run", "versions"} <= summary.keys()


def is_report(data: bytes) -> bool:
    """Whether this is a `report.html` of this program."""
    return b"<title>sam-batch report</title>" in data[:1000]
