"""What became of planned images since they were planned: replaced under their name, gone, moved, or back again.

The plan only grows, so this lies beside it, in `plan/changes.parquet`: one row an image that is no longer, or no longer
only, what the plan says. The holder of the lease replaces the file as a whole. It knows no images and reads no input.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sam_batch.data.entries import Entries
from sam_batch.data.packed import PackedTable, SortedRows
from sam_batch.data.storage import Entry


class State(StrEnum):
    """What an image is now."""

    GONE = "gone"  # not in the input: its row counts nowhere, and stays for the case that it comes back
    REPLACED = "replaced"  # there is another image under its key, planned anew under another image_id
    SAME = "same"  # as it was labelled, though its size or time differ from the plan's


class Change(NamedTuple):
    """An image that differs from its row of the plan.

    Attributes:
        state: As above.
        size: Bytes, as listed last.
        modified: As `storage.Entry` has it, as listed last.
        address: URI, as listed last; None where it is the plan's.
    """

    state: State
    size: int | None
    modified: str | None
    address: str | None = None


Changes = Mapping[int, Change]
"""By image_id."""

SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("state", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.string()),
        ("address", pa.string()),  # younger than the others: null in files of before
    ]
)


_KNOWN = pa.schema(
    [
        ("image_id", pa.int64()),
        ("key", pa.string()),
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.string()),
        ("gone", pa.bool_()),
    ]
)


class Difference(NamedTuple):
    """A listing beside a plan.

    Attributes:
        new: Not planned.
        touched: Planned, but now of another size, time or address: image_id and what is listed.
        back: Likewise, of images that were gone.
        gone: Planned, and no longer listed.
    """

    new: Entries
    touched: list[tuple[int, Entry]]
    back: list[tuple[int, Entry]]
    gone: list[int]


def compare(rows: PackedTable, changes: Changes, listed: Entries, *, whole: bool) -> Difference:
    """Compare what is listed with what is planned, both in the order of their keys; reads nothing.

    Args:
        rows: `schema.PLAN_SCHEMA`, row i the image i.
        changes: What is known of them.
        listed: The input as it is, sorted by key.
        whole: All of the input is listed, so that what is missing is gone.
    """
    touched, back, gone = list[tuple[int, Entry]](), list[tuple[int, Entry]](), list[int]()
    latest = _Latest(changes)
    runs = [SortedRows(map(latest.known, _placed(rows, start, stop))) for start, stop in _sorted_runs(rows)]

    def new() -> Iterator[pa.Table]:
        for entries in listed.table.blocks():
            planned = list(chain.from_iterable(run.up_to(entries["key"][-1].as_py()) for run in runs))
            known = pa.concat_tables([_KNOWN.empty_table(), *planned])
            place = pc.index_in(entries["key"], value_set=known["key"].combine_chunks())
            there, of_plan = known.take(pc.drop_null(place)), entries.filter(pc.is_valid(place))
            differs = _any([pc.not_equal(of_plan[name], there[name]) for name in ("uri", "size", "modified")])
            was_gone = np.asarray(there["gone"], bool)
            touched.extend(_pairs(there, of_plan, differs & ~was_gone))
            back.extend(_pairs(there, of_plan, was_gone))
            gone.extend(_missing(known, pc.drop_null(place).to_numpy()))
            yield entries.filter(pc.is_null(place))

    entries = Entries(PackedTable.of(new(), listed.table.schema))
    gone += chain.from_iterable(_missing(known, []) for run in runs for known in run.up_to(None))
    return Difference(entries, touched, back, sorted(gone) if whole else [])


def _pairs(known: pa.Table, entries: pa.Table, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, Entry]]:
    ids = known["image_id"].filter(pa.array(chosen)).to_pylist()
    return zip(ids, Entries.of_table(entries.filter(pa.array(chosen))), strict=True)


def _missing(known: pa.Table, found: Sequence[int] | NDArray[np.int64]) -> list[int]:
    """The images that were there when they were seen last, but for those in some places."""
    missing = ~np.asarray(known["gone"], bool)
    missing[np.asarray(found, np.int64)] = False
    ids: list[int] = known["image_id"].filter(pa.array(missing)).to_pylist()
    return ids


def _sorted_runs(rows: PackedTable) -> list[tuple[int, int]]:
    """Where the keys of a plan ascend, from a row on and up to another: each of its files is sorted."""
    bounds, start, last = [0], 0, pa.array([], pa.string())
    for block in rows.blocks(["key"]):
        keys = pa.concat_arrays([last, *block["key"].chunks])
        descents = np.flatnonzero(pc.less(keys[1:], keys[:-1])) + 1
        bounds += (descents + start - len(last)).tolist()
        start, last = start + block.num_rows, keys[-1:]
    return list(zip(bounds, [*bounds[1:], rows.num_rows], strict=True)) if rows.num_rows else []


def _placed(rows: PackedTable, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
    for table in rows.slices(start, stop - start):
        yield start, table
        start += table.num_rows


def retired(changes: Changes) -> list[int]:
    """The images whose rows count nowhere."""
    return [image_id for image_id, change in changes.items() if change.state is not State.SAME]


def to_table(changes: Changes) -> pa.Table:
    """For `plan/changes.parquet`, in the order of the plan."""
    rows = [{"image_id": image_id, **change._asdict()} for image_id, change in sorted(changes.items())]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def from_table(table: pa.Table) -> dict[int, Change]:
    """Read back what `to_table` made."""
    rows = [(row.pop("image_id"), row) for row in table.to_pylist()]
    return {image_id: Change(**{**row, "state": State(row["state"])}) for image_id, row in rows}


def moved(changes: Changes) -> pa.RecordBatch:
    """The `image_id` and new `address` of each image that was listed elsewhere last."""
    rows = [(image_id, change.address) for image_id, change in sorted(changes.items()) if change.address is not None]
    columns = zip(*rows, strict=True) if rows else ([], [])
    return pa.record_batch(list(map(pa.array, columns, (pa.int64(), pa.string()))), ["image_id", "address"])


class _Latest:
    """What is known of planned images since they were planned."""

    def __init__(self, changes: Changes) -> None:
        self._ids = np.array(sorted(changes), np.int64)
        self._changes = changes

    def known(self, placed: tuple[int, pa.Table]) -> pa.Table:
        """Rows of the plan as they were seen last, without those that were replaced; of the first the place is said."""
        first, rows = placed
        ids = self._ids[np.searchsorted(self._ids, first) : np.searchsorted(self._ids, first + rows.num_rows)]
        latest = [self._changes[image_id] for image_id in ids.tolist()]
        mask, states = np.zeros(rows.num_rows, bool), np.full(rows.num_rows, "", object)
        mask[ids - first], states[ids - first] = True, [change.state for change in latest]
        columns = {"image_id": rows["image_id"], "key": rows["key"], "gone": pa.array(states == State.GONE)}
        for name in ("uri", "size", "modified"):
            column = rows[name].combine_chunks()
            now = [change.address if name == "uri" else getattr(change, name) for change in latest]
            seen = pc.replace_with_mask(column, mask, pa.array(now, column.type))
            columns[name] = pc.coalesce(seen, column) if name == "uri" else seen
        return pa.table({name: columns[name] for name in _KNOWN.names}, schema=_KNOWN).filter(
            pa.array(states != State.REPLACED)
        )


def _any(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """Where one of them is true; what is unknown is not."""
    return np.any([np.asarray(pc.fill_null(column, False), bool) for column in columns], axis=0)
