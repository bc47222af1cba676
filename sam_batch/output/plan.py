"""The plan: which image belongs to which shard. Written once, extended by new images, never changed.

`image_id` is the position in the plan. The plan's Parquet files carry the fingerprint of the settings it was made for.

Its rows lie packed in memory and are read block by block: plans of ten million images are none too long.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sam_batch.config import Config
from sam_batch.data.entries import Entries
from sam_batch.data.packed import BLOCK_ROWS, PackedTable, of_length
from sam_batch.data.storage import Entry, Storage, shown
from sam_batch.errors import NotFoundError, OutputError, StorageError
from sam_batch.model.families import view_bytes
from sam_batch.output import layout, schema
from sam_batch.output.changes import SCHEMA as CHANGES_SCHEMA
from sam_batch.output.changes import Changes, from_table, moved, retired, to_table
from sam_batch.output.fingerprint import PLACE
from sam_batch.prompts.arrow import GIVEN
from sam_batch.prompts.items import Category
from sam_batch.segment.algorithm import most_views

FINGERPRINT = b"sam_batch.fingerprint"
CATEGORIES = b"sam_batch.categories"
ROOTS = b"sam_batch.input.uri"  # of changes: where the input is since it moved
PICTURES = b"sam_batch.pictures"  # of changes: what is drawn since it was switched on
GROUP_ROWS = 1 << 16  # of a file; its writer holds a group several times, and allocators keep what it held
SHARDS_AT_LEAST = 32
MOST, MOST_INLINE = 32, 4  # images a shard where nobody said otherwise; in a plain loop each may take a minute
SHARD_BYTES = 256 << 20  # of views; a stage holds them some three times, and there are as many loaders as CPUs


@dataclass(frozen=True)
class Plan:
    """All planned images.

    Attributes:
        rows: `schema.PLAN_SCHEMA`, ordered by image_id, shards contiguous.
        fingerprint: Of the settings it was made for; each part names it.
        parts: How many files it is stored in.
        changes: What became of planned images since.
        categories: What the objects of its prompts can be.
        moved_to: Where the input is since it moved, as its URIs; empty if it never did.
        pictures: Settings of pictures that were off then, and were switched on since.
        is_drawn: Whether all images that had rows before have them.
    """

    rows: PackedTable
    fingerprint: dict[str, str]
    parts: int
    changes: Changes = field(default_factory=dict)
    categories: tuple[Category, ...] = ()
    moved_to: tuple[str, ...] = ()
    pictures: dict[str, str] = field(default_factory=dict)
    is_drawn: bool = True

    def __len__(self) -> int:
        """How many images count: those that are gone or were replaced do not."""
        return self.rows.num_rows - len(self.retired)

    def __bool__(self) -> bool:
        """A plan of which no image counts any more is one all the same."""
        return True

    @property
    def settings(self) -> dict[str, str]:
        """What results are made with now: the fingerprint, with the pictures that were switched on since."""
        return {**self.fingerprint, **self.pictures}

    @property
    def roots(self) -> tuple[str, ...]:
        """Where the input was when a run looked last."""
        return self.moved_to or tuple(json.loads(self.fingerprint.get(PLACE, "[]")))

    @property
    def began_with_one_root(self) -> bool:
        """Whether the first of the roots gave keys without its base name; others that came later never do."""
        return len(json.loads(self.fingerprint.get(PLACE, "[]"))) == 1

    def addresses(self, places: Sequence[int]) -> list[str]:
        """Where some images were then, as URIs, by their ascending image_ids."""
        return pc.coalesce(self._moved(pa.array(places, pa.int64())), self.rows.take(places)["uri"]).to_pylist()

    def readdressed(self, part: pa.Table) -> pa.Table:
        """Rows of an output with the images' addresses of now, where some are not those of the plan."""
        if not len(self._moved_images):
            return part
        now = pc.coalesce(self._moved(part["image_id"]), part["uri"])
        return part.set_column(part.column_names.index("uri"), part.field("uri"), now)

    def _moved(self, image_ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """The new addresses of images; null where an image lies where it lay."""
        return self._moved_images["address"].take(pc.index_in(image_ids, value_set=self._moved_images["image_id"]))

    @cached_property
    def _moved_images(self) -> pa.RecordBatch:
        return moved(self.changes)

    @cached_property
    def retired(self) -> NDArray[np.int64]:
        """The image_ids that count no more, in order."""
        return np.array(sorted(retired(self.changes)), np.int64)

    def counted_blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of the images that count, block by block; of some columns, if they are named."""
        first = 0
        for block in self.rows.blocks(columns):
            ids = self.retired[np.searchsorted(self.retired, first) : np.searchsorted(self.retired, first + len(block))]
            first += len(block)
            yield block.filter(pa.array(~np.isin(np.arange(first - len(block), first), ids))) if len(ids) else block

    @cached_property
    def prompt_count(self) -> int:
        """How many prompts these images carry."""
        blocks = (block["prompts"] for block in self.counted_blocks(["prompts"]))
        objects = (pc.struct_field(prompts, "objects") for prompts in blocks if prompts.null_count < len(prompts))
        return sum(pc.sum(pc.list_value_length(lists)).as_py() or 0 for lists in objects)

    @cached_property
    def _shards(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The shards in the plan's order: their numbers, where each begins, and how many images that count it has."""
        shard_of_image = np.concatenate([np.array([], np.int64), *(b["shard"] for b in self.rows.blocks(["shard"]))])
        starts = np.flatnonzero(np.diff(shard_of_image, prepend=-1))
        ends = np.append(starts[1:], len(shard_of_image))
        gone = np.searchsorted(self.retired, ends) - np.searchsorted(self.retired, starts[: len(ends)])
        return shard_of_image[starts], np.append(starts, len(shard_of_image)), np.diff(ends, prepend=0) - gone

    @property
    def shard_count(self) -> int:
        """Shards are numbered from 0 without gaps."""
        numbers, _, _ = self._shards
        return int(numbers[-1]) + 1 if len(numbers) else 0

    def shards(self, wanted: Iterable[int]) -> Iterator[pa.Table]:
        """The rows of each wanted shard, in order, unpacked as they are asked for."""
        numbers, bounds, _ = self._shards
        for place in self._places(wanted, numbers):
            yield self.rows.slice(int(bounds[place]), int(bounds[place + 1] - bounds[place]))

    def in_order(self, shards: Iterable[int]) -> list[int]:
        """Shards in the plan's order."""
        numbers, _, _ = self._shards
        ordered: list[int] = numbers[self._places(shards, numbers)].tolist()
        return ordered

    def shard_of(self, image_ids: Sequence[int] | NDArray[np.int64]) -> set[int]:
        """The shards that images are in."""
        numbers, bounds, _ = self._shards
        return set(numbers[np.searchsorted(bounds, np.asarray(image_ids, np.int64), side="right") - 1].tolist())

    def pending(self, done: set[int]) -> set[int]:
        """The shards that are not done and hold an image that counts."""
        numbers, _, counting = self._shards
        return set(numbers[counting > 0].tolist()) - done

    def image_count(self, shards: set[int]) -> int:
        """How many images that count the given shards hold."""
        numbers, _, counting = self._shards
        return int(counting[self._places(shards, numbers)].sum())

    @staticmethod
    def _places(wanted: Iterable[int], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(numbers, np.fromiter(wanted, np.int64)))


def read_plan(storage: Storage) -> Plan | None:
    """The stored plan, or None before the first run.

    Raises:
        OutputError: A file has the name of a part of the plan, and is none of this plan.
    """
    numbers = sorted(_part_numbers(storage, layout.PLAN))
    keys = [layout.part_key(layout.PLAN, number) for number in range(len(numbers))]
    if numbers != list(range(len(numbers))):
        raise _no_plan(storage, layout.part_key(layout.PLAN, numbers[-1]), "those before it are missing")
    parts = [_read_part(storage, key) for key in keys]
    if not parts:
        return None
    metadata = [told for _, told in parts]
    for key, told in zip(keys, metadata, strict=True):
        if told[FINGERPRINT] != metadata[0][FINGERPRINT]:
            raise _no_plan(storage, key, "it is of another plan")
    rows = sum((part for part, _ in parts), PackedTable(schema.PLAN_SCHEMA))
    categories = [Category(*one) for told in metadata for one in json.loads(told.get(CATEGORIES, b"[]"))]
    fingerprint = json.loads(metadata[0][FINGERPRINT])
    return _with_changes(storage, Plan(rows, fingerprint, len(parts), categories=tuple(dict.fromkeys(categories))))


def _with_changes(storage: Storage, plan: Plan) -> Plan:
    try:
        table = schema.read_part(storage.read(layout.CHANGES), CHANGES_SCHEMA)
    except NotFoundError:
        return plan
    except StorageError as error:
        raise _no_plan(storage, layout.CHANGES, str(error)) from error
    told = {key: json.loads(value) for key, value in (table.schema.metadata or {}).items() if key in (ROOTS, PICTURES)}
    pictures, is_drawn = told.get(PICTURES, ({}, True))
    moved_to = tuple(told.get(ROOTS, ()))
    return replace(plan, changes=from_table(table), moved_to=moved_to, pictures=pictures, is_drawn=is_drawn)


def store_changes(storage: Storage, plan: Plan, changes: Changes, roots: Sequence[str]) -> Plan:
    """Keep what became of planned images, and where the input is."""
    moved_to = tuple(roots) if tuple(roots) != plan.roots else plan.moved_to
    return _stored_beside(storage, plan, replace(plan, changes=changes, moved_to=moved_to))


def store_pictures(storage: Storage, plan: Plan, pictures: Mapping[str, str], *, is_drawn: bool) -> Plan:
    """Keep that pictures were switched on, or that they are drawn now.

    Args:
        storage: The output.
        plan: Of the output.
        pictures: Their settings, beside those that are known.
        is_drawn: See `Plan`.
    """
    return _stored_beside(storage, plan, replace(plan, pictures={**plan.pictures, **pictures}, is_drawn=is_drawn))


def _stored_beside(storage: Storage, before: Plan, plan: Plan) -> Plan:
    """A plan of which something else than the rows differs; that file is replaced as a whole."""

    def beside(plan: Plan) -> tuple[Any, ...]:
        return plan.changes, plan.moved_to, plan.pictures, plan.is_drawn

    if beside(before) != beside(plan):
        told = {ROOTS: json.dumps(plan.moved_to)} if plan.moved_to else {}
        told |= {PICTURES: json.dumps([plan.pictures, plan.is_drawn], sort_keys=True)} if plan.pictures else {}
        table = to_table(plan.changes).replace_schema_metadata(told or None)
        storage.replace(layout.CHANGES, schema.part_bytes(table))
    return plan


def _read_part(storage: Storage, key: str) -> tuple[PackedTable, dict[bytes, bytes]]:
    data = storage.read(key)
    try:
        blocks, metadata = schema.read_blocks(data, schema.PLAN_SCHEMA, BLOCK_ROWS)
        rows = PackedTable.of(blocks, schema.PLAN_SCHEMA)
    except StorageError as error:
        raise _no_plan(storage, key, str(error)) from error
    if FINGERPRINT not in metadata:
        raise _no_plan(storage, key, "it does not say for which settings")
    return rows, metadata


def _no_plan(storage: Storage, key: str, reason: str) -> OutputError:
    return OutputError(f"output.uri: {shown(storage.root)}/{key} is no part of a job's plan: {reason}; move it away")


def images_per_shard(config: Config, images: int) -> int:
    """How many images new shards have.

    `run.shard_size: auto` is a thirty-second part of a small job, so that progress and resume begin with the first
    images. Whatever it is, no more than have views of 256 MiB, unless one image alone has more.

    Args:
        config: The job.
        images: To be planned.
    """
    asked = config.run.shard_size
    most = MOST_INLINE if config.run.executor == "inline" else MOST
    wanted = min(images // SHARDS_AT_LEAST, most) if isinstance(asked, str) else asked
    return max(1, min(wanted, SHARD_BYTES // (most_views(config) * view_bytes(config.model.name))))


def extend(
    plan: Plan | None,
    new: Iterable[Entry],
    shard_size: int,
    prompts_of: Callable[[pa.ChunkedArray], pa.Array | None] = lambda keys: None,
) -> PackedTable:
    """Rows for new images, in shards of their own.

    Args:
        plan: What there is already.
        new: Images that it does not hold, or not as they are now.
        shard_size: Images a shard.
        prompts_of: The prompts of images, by their keys: `prompts.arrow.GIVEN`, or None where none carries some.
    """
    first_image, first_shard = (plan.rows.num_rows, plan.shard_count) if plan else (0, 0)

    def blocks() -> Iterator[pa.Table]:
        start = 0
        for entries in Entries.of(new).table.blocks():
            places = np.arange(start, start + entries.num_rows)
            start += entries.num_rows
            given = prompts_of(entries["key"])
            columns = {
                "shard": first_shard + places // shard_size,
                "image_id": first_image + places,
                **{name: entries[name] for name in entries.column_names},
                "prompts": schema.nulls(entries.num_rows, GIVEN) if given is None else given,
            }
            yield pa.table({name: columns[name] for name in schema.PLAN_SCHEMA.names}).cast(schema.PLAN_SCHEMA)

    return PackedTable.of(blocks(), schema.PLAN_SCHEMA)


def store(
    storage: Storage,
    plan: Plan | None,
    rows: PackedTable,
    fingerprint: dict[str, str],
    categories: Sequence[Category] = (),
) -> Plan:
    """Add rows to the stored plan, in one file of their own, created only if absent."""
    number, known = (plan.parts, plan.categories) if plan else (0, ())
    if rows.num_rows:
        storage.create(layout.part_key(layout.PLAN, number), _part_bytes(rows, fingerprint, categories))
        number, known = number + 1, tuple(dict.fromkeys([*known, *categories]))
    if plan is None:
        return Plan(rows, fingerprint, number, categories=known)
    return replace(plan, rows=plan.rows + rows, parts=number, categories=known)


def replace_plan(storage: Storage, plan: Plan) -> None:
    """Put a whole plan in the place of one of a single part, at once: there is no moment without a plan."""
    storage.replace(layout.part_key(layout.PLAN, 0), _part_bytes(plan.rows, plan.fingerprint, plan.categories))


def _part_bytes(rows: PackedTable, fingerprint: dict[str, str], categories: Sequence[Category] = ()) -> bytes:
    metadata = {FINGERPRINT: json.dumps(fingerprint, sort_keys=True)}
    if categories:
        metadata[CATEGORIES] = json.dumps([astuple(category) for category in categories])
    sink = pa.BufferOutputStream()
    described = rows.schema.with_metadata(metadata)
    # Keys and addresses are all different: dictionaries of them would only take room.
    with pq.ParquetWriter(sink, described, compression="zstd", use_dictionary=False) as writer:
        for group in of_length(rows.blocks(), GROUP_ROWS):
            writer.write_table(group.replace_schema_metadata(metadata), GROUP_ROWS)
        if not rows.num_rows:
            writer.write_table(described.empty_table())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def committed_shards(storage: Storage) -> set[int]:
    """The shards whose part exists: exactly these are done."""
    return _part_numbers(storage, layout.ANNOTATIONS)


def _part_numbers(storage: Storage, folder: str) -> set[int]:
    numbers = (layout.part_number(entry.key) for entry in storage.list(folder, recursive=False))
    return {number for number in numbers if number is not None}
