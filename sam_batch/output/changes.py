"""What became of planned images since they were planned: replaced under their name, gone, moved, or back again.

The plan only grows, so this lies beside it, in `plan/changes.parquet`: one row an image that is no longer, or no longer
only, what the plan says. The holder of the lease replaces the file as a whole. It knows no images and reads no input.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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


class Difference(NamedTuple):
    """A listing beside a plan.

    Attributes:
        new: Not planned.
        touched: Planned, but now of another size, time or address: image_id and what is listed.
        back: Likewise, of images that were gone.
        gone: Planned, and no longer listed.
    """

    new: list[Entry]
    touched: list[tuple[int, Entry]]
    back: list[tuple[int, Entry]]
    gone: list[int]


def compare(rows: pa.Table, changes: Changes, listed: Sequence[Entry], *, whole: bool) -> Difference:
    """Compare what is listed with what is planned; reads nothing.

    Args:
        rows: `schema.PLAN_SCHEMA`, row i the image i.
        changes: What is known of them.
        listed: The input as it is.
        whole: All of the input is listed, so that what is missing is gone.
    """
    known = _known(rows, changes)
    entries = pa.table(
        {
            "key": pa.array([entry.key for entry in listed], pa.string()),
            "uri": pa.array([entry.uri for entry in listed], pa.string()),
            "size": pa.array([entry.size for entry in listed], pa.int64()),
            "modified": pa.array([entry.modified for entry in listed], pa.string()),
        }
    )
    place = pc.index_in(entries["key"], value_set=known["key"].combine_chunks())
    planned = np.flatnonzero(pc.is_valid(place))
    there = known.take(pc.drop_null(place))
    differs = _any([pc.not_equal(entries[name].take(planned), there[name]) for name in ("uri", "size", "modified")])
    was_gone = np.asarray(there["gone"], bool)
    ids = there["image_id"].to_numpy()

    def pairs(chosen: np.ndarray) -> list[tuple[int, Entry]]:
        return [(int(ids[i]), listed[int(planned[i])]) for i in np.flatnonzero(chosen)]

    missing = np.ones(known.num_rows, bool)
    missing[pc.drop_null(place).to_numpy()] = False
    gone = known["image_id"].to_numpy()[missing & ~np.asarray(known["gone"], bool)] if whole else []
    return Difference(
        new=[listed[int(i)] for i in np.flatnonzero(pc.is_null(place))],
        touched=pairs(differs & ~was_gone),
        back=pairs(was_gone),
        gone=[int(image_id) for image_id in gone],
    )


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


def addresses(rows: pa.Table, changes: Changes) -> pa.Array:
    """Where each of the plan's images was listed last, as URIs."""
    column = rows["uri"].combine_chunks()
    moved = {image_id: change.address for image_id, change in sorted(changes.items()) if change.address is not None}
    mask = np.zeros(len(column), bool)
    mask[list(moved)] = True
    return pc.replace_with_mask(column, mask, pa.array(moved.values(), column.type)) if moved else column


def _known(rows: pa.Table, changes: Changes) -> pa.Table:
    """The plan's images as they were seen last, without those that were replaced."""
    ids = np.array(sorted(changes), np.int64)
    latest = [changes[image_id] for image_id in ids.tolist()]
    mask = np.zeros(rows.num_rows, bool)
    mask[ids] = True
    known = rows.select(["image_id", "key"]).append_column("uri", addresses(rows, changes))
    for name, values in (("size", [change.size for change in latest]), ("modified", [c.modified for c in latest])):
        column = rows[name].combine_chunks()
        known = known.append_column(name, pc.replace_with_mask(column, mask, pa.array(values, column.type)))
    states = np.full(rows.num_rows, "", object)
    states[ids] = [change.state for change in latest]
    known = known.append_column("gone", pa.array(states == State.GONE))
    return known.filter(pa.array(states != State.REPLACED))


def _any(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """Where one of them is true; what is unknown is not."""
    return np.any([np.asarray(pc.fill_null(column, False), bool) for column in columns], axis=0)
