"""The plan: which image belongs to which shard. Written once, extended by new images, never changed.

`image_id` is the position in the plan. The plan's Parquet files carry the fingerprint of the settings it was made for.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config import Config
from sam_batch.data.storage import Entry, Storage
from sam_batch.output import layout, schema
from sam_batch.segment.algorithm import most_views

FINGERPRINT = b"sam_batch.fingerprint"
SHARD_BYTES = 256 << 20  # of views; a stage holds them some three times, and there are as many loaders as CPUs
VIEW_BYTES = 1024 * 1024 * 3  # of the largest view: as RGB, at the side of SAM's input


@dataclass(frozen=True, slots=True)
class Plan:
    """All planned images.

    Attributes:
        rows: `schema.PLAN_SCHEMA`, ordered by image_id, shards contiguous.
        fingerprint: Of the settings the results are made with.
        parts: How many files it is stored in.
    """

    rows: pa.Table
    fingerprint: dict[str, str]
    parts: int

    def __len__(self) -> int:
        return self.rows.num_rows

    @property
    def shard_count(self) -> int:
        """Shards are numbered from 0 without gaps."""
        return 0 if not len(self) else self.rows["shard"][-1].as_py() + 1

    def shards(self, wanted: set[int]) -> Iterator[pa.Table]:
        """The rows of each wanted shard, in order, without a copy."""
        runs = pc.run_end_encode(self.rows["shard"].combine_chunks())
        start = 0
        for shard, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            if shard in wanted:
                yield self.rows.slice(start, end - start)
            start = end

    def image_count(self, shards: set[int]) -> int:
        """How many images the given shards hold."""
        return sum(rows.num_rows for rows in self.shards(shards))


def read_plan(storage: Storage) -> Plan | None:
    """The stored plan, or None before the first run."""
    numbers = _part_numbers(storage, layout.PLAN)
    if not numbers:
        return None
    keys = [layout.part_key(layout.PLAN, number) for number in sorted(numbers)]
    tables = [schema.read_part(storage.read(key), schema.PLAN_SCHEMA) for key in keys]
    metadata = tables[0].schema.metadata or {}
    rows = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    return Plan(rows, json.loads(metadata[FINGERPRINT]), len(tables))


def images_per_shard(config: Config) -> int:
    """At most run.shard_size, and so few that their views take 256 MiB, unless one image alone takes more.

    It depends on settings alone, not on images or machines, and only new shards are cut by it.
    """
    return max(1, min(config.run.shard_size, SHARD_BYTES // (most_views(config) * VIEW_BYTES)))


def extend(plan: Plan | None, listed: Sequence[Entry], shard_size: int) -> pa.Table:
    """Rows for the listed images that the plan does not know yet, in shards of their own."""
    known = set(plan.rows["key"].to_pylist()) if plan else set()
    new = [entry for entry in listed if entry.key not in known]
    first_image, first_shard = (len(plan), plan.shard_count) if plan else (0, 0)
    return pa.table(
        {
            "shard": [first_shard + position // shard_size for position in range(len(new))],
            "image_id": range(first_image, first_image + len(new)),
            "key": [entry.key for entry in new],
            "uri": [entry.uri for entry in new],
            "size": [entry.size for entry in new],
        },
        schema=schema.PLAN_SCHEMA,
    )


def store(storage: Storage, plan: Plan | None, rows: pa.Table, fingerprint: dict[str, str]) -> Plan:
    """Add rows to the stored plan, in one file of their own, created only if absent."""
    number = plan.parts if plan else 0
    if rows.num_rows:
        marked = rows.replace_schema_metadata({FINGERPRINT: json.dumps(fingerprint, sort_keys=True)})
        storage.create(layout.part_key(layout.PLAN, number), schema.part_bytes(marked))
        number += 1
    whole = pa.concat_tables([plan.rows, rows]) if plan else rows
    return Plan(whole, fingerprint, number)


def committed_shards(storage: Storage) -> set[int]:
    """The shards whose part exists: exactly these are done."""
    return _part_numbers(storage, layout.ANNOTATIONS)


def _part_numbers(storage: Storage, folder: str) -> set[int]:
    numbers = (layout.part_number(entry.key) for entry in storage.list(folder))
    return {number for number in numbers if number is not None}
