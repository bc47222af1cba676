"""The plan: which image belongs to which shard. Written once, extended by new images, never changed.

`image_id` is the position in the plan. The plan's Parquet files carry the fingerprint of the settings it was made for.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sam_batch.config import Config
from sam_batch.data.storage import Entry, Storage, shown
from sam_batch.errors import NotFoundError, OutputError, StorageError
from sam_batch.model.families import view_bytes
from sam_batch.output import layout, schema
from sam_batch.output.changes import SCHEMA as CHANGES_SCHEMA
from sam_batch.output.changes import Changes, addresses, from_table, retired, to_table
from sam_batch.output.fingerprint import PLACE
from sam_batch.prompts.arrow import GIVEN
from sam_batch.prompts.items import Category
from sam_batch.segment.algorithm import most_views

FINGERPRINT = b"sam_batch.fingerprint"
CATEGORIES = b"sam_batch.categories"
ROOTS = b"sam_batch.input.uri"  # of changes: where the input is since it moved
PICTURES = b"sam_batch.pictures"  # of changes: what is drawn since it was switched on
SHARDS_AT_LEAST = 32
MOST, MOST_INLINE = 32, 4  # images a shard where nobody said otherwise; in a plain loop each may take a minute
SHARD_BYTES = 256 << 20  # of views; a stage holds them some three times, and there are as many loaders as CPUs


@dataclass(frozen=True, slots=True)
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

    rows: pa.Table
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

    @property
    def addresses(self) -> pa.Array:
        """Where each image was then, as URIs, in the order of the rows."""
        return addresses(self.rows, self.changes)

    def readdressed(self, part: pa.Table) -> pa.Table:
        """Rows of an output with the images' addresses of now, where some are not those of the plan."""
        if not any(change.address for change in self.changes.values()):
            return part
        now = self.addresses.take(part["image_id"].combine_chunks())
        return part.set_column(part.column_names.index("uri"), part.field("uri"), now)

    @property
    def retired(self) -> NDArray[np.int64]:
        """The image_ids that count no more, in order."""
        return np.array(sorted(retired(self.changes)), np.int64)

    @property
    def counted_rows(self) -> pa.Table:
        """The rows of the images that count."""
        return self.rows.filter(pa.array(~np.isin(self.rows["image_id"], self.retired)))

    @property
    def prompt_count(self) -> int:
        """How many prompts these images carry."""
        objects = pc.struct_field(self.counted_rows["prompts"], "objects")
        return int(pc.sum(pc.list_value_length(objects)).as_py() or 0)

    @property
    def shard_count(self) -> int:
        """Shards are numbered from 0 without gaps."""
        return 0 if not self.rows.num_rows else self.rows["shard"][-1].as_py() + 1

    def shards(self, wanted: set[int]) -> Iterator[pa.Table]:
        """The rows of each wanted shard, in order, without a copy."""
        runs = pc.run_end_encode(self.rows["shard"].combine_chunks())
        start = 0
        for shard, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            if shard in wanted:
                yield self.rows.slice(start, end - start)
            start = end

    def pending(self, done: set[int]) -> set[int]:
        """The shards that are not done and hold an image that counts."""
        counts = ~np.isin(self.rows["image_id"], self.retired)
        return set(self.rows["shard"].filter(pa.array(counts)).unique().to_pylist()) - done

    def image_count(self, shards: set[int]) -> int:
        """How many images that count the given shards hold."""
        return sum(rows.num_rows - int(np.isin(rows["image_id"], self.retired).sum()) for rows in self.shards(shards))


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
    metadata = [part.schema.metadata for part in parts]
    for key, told in zip(keys, metadata, strict=True):
        if told[FINGERPRINT] != metadata[0][FINGERPRINT]:
            raise _no_plan(storage, key, "it is of another plan")
    rows = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
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


def _read_part(storage: Storage, key: str) -> pa.Table:
    data = storage.read(key)
    try:
        part = schema.read_part(data, schema.PLAN_SCHEMA)
    except StorageError as error:
        raise _no_plan(storage, key, str(error)) from error
    if FINGERPRINT not in (part.schema.metadata or {}):
        raise _no_plan(storage, key, "it does not say for which settings")
    return part


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


def extend(plan: Plan | None, new: Sequence[Entry], shard_size: int, prompts: pa.StructArray | None = None) -> pa.Table:
    """Rows for new images, in shards of their own.

    Args:
        plan: What there is already.
        new: Images that it does not hold, or not as they are now.
        shard_size: Images a shard.
        prompts: Of each new image, `prompts.arrow.GIVEN`; None where no image carries some.
    """
    first_image, first_shard = (plan.rows.num_rows, plan.shard_count) if plan else (0, 0)
    return pa.table(
        {
            "shard": [first_shard + position // shard_size for position in range(len(new))],
            "image_id": range(first_image, first_image + len(new)),
            "key": [entry.key for entry in new],
            "uri": [entry.uri for entry in new],
            "size": [entry.size for entry in new],
            "modified": [entry.modified for entry in new],
            "prompts": pa.nulls(len(new), GIVEN) if prompts is None else prompts,
        },
        schema=schema.PLAN_SCHEMA,
    )


def store(
    storage: Storage,
    plan: Plan | None,
    rows: pa.Table,
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
    return replace(plan, rows=pa.concat_tables([plan.rows, rows]), parts=number, categories=known)


def replace_plan(storage: Storage, plan: Plan) -> None:
    """Put a whole plan in the place of one of a single part, at once: there is no moment without a plan."""
    storage.replace(layout.part_key(layout.PLAN, 0), _part_bytes(plan.rows, plan.fingerprint, plan.categories))


def _part_bytes(rows: pa.Table, fingerprint: dict[str, str], categories: Sequence[Category] = ()) -> bytes:
    metadata = {FINGERPRINT: json.dumps(fingerprint, sort_keys=True)}
    if categories:
        metadata[CATEGORIES] = json.dumps([astuple(category) for category in categories])
    return schema.part_bytes(rows.replace_schema_metadata(metadata))


def committed_shards(storage: Storage) -> set[int]:
    """The shards whose part exists: exactly these are done."""
    return _part_numbers(storage, layout.ANNOTATIONS)


def _part_numbers(storage: Storage, folder: str) -> set[int]:
    numbers = (layout.part_number(entry.key) for entry in storage.list(folder, recursive=False))
    return {number for number in numbers if number is not None}
