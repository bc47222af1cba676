"""The listed images of an input, sorted and each once, in little memory: ten million take some hundred megabytes.

While they are gathered they lie in sorted runs, which are merged at the end. It lists nothing itself.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import eq
from typing import Final, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.data.packed import PackedTable, merged, repeated
from sam_batch.data.storage import Entry, shown
from sam_batch.errors import InputError

SCHEMA: Final = pa.schema([("key", pa.string()), ("uri", pa.string()), ("size", pa.int64()), ("modified", pa.string())])
_GATHERED: Final = SCHEMA.append(pa.field("found", pa.int64()))  # the order in which they came
RUN_ROWS: Final = 1 << 17


class Entries(Sequence[Entry]):
    """Entries in the order in which they are stored, unpacked some thousands at a time.

    Args:
        table: `SCHEMA`.
    """

    def __init__(self, table: PackedTable) -> None:
        self.table = table

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Entries":
        """Store entries in the order in which they come."""
        if isinstance(entries, Entries):
            return entries
        return cls(PackedTable.of(_tables(entries), SCHEMA))

    def __len__(self) -> int:
        """How many there are."""
        return self.table.num_rows

    def __iter__(self) -> Iterator[Entry]:
        """One after the other."""
        return chain.from_iterable(map(self.of_table, self.table.blocks()))

    @staticmethod
    def of_table(table: pa.Table) -> Iterator[Entry]:
        """The entries of some rows."""
        return map(Entry, *(table[name].to_pylist() for name in SCHEMA.names))

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> "Entries": ...
    def __getitem__(self, place: int | slice) -> "Entry | Entries":
        """An entry, or some that follow each other."""
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                raise ValueError("entries are taken in their order")
            if (start, stop) == (0, len(self)):
                return self
            return Entries(PackedTable.of(self.table.slices(start, stop - start), SCHEMA))
        return Entry(**self.table.row(range(len(self))[place]))

    def __eq__(self, other: object) -> bool:
        """Whether these are the same entries as those of any sequence."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def bytes_known(self) -> tuple[int, int]:
        """The sum of the sizes that are known, and how many are."""
        blocks = [block["size"] for block in self.table.blocks(["size"])]
        return sum(pc.sum(one).as_py() or 0 for one in blocks), sum(len(one) - one.null_count for one in blocks)


def _tables(entries: Iterable[Entry], first: int | None = None, rows: int = RUN_ROWS) -> Iterator[pa.Table]:
    """Tables of a number of rows each; with `first`, numbered in a column `found`."""
    entries = iter(entries)
    while some := list(islice(entries, rows)):
        columns = {name: [getattr(entry, name) for entry in some] for name in SCHEMA.names}
        if first is None:
            yield pa.table(columns, schema=SCHEMA)
        else:
            yield pa.table({**columns, "found": range(first, first + len(some))}, schema=_GATHERED)
            first += len(some)


def gathered(entries: Iterable[Entry], progress: Callable[[int], None] = lambda found: None) -> Entries:
    """The entries sorted by key in code-point order, every URI once, under the first key it came with.

    Args:
        entries: In any order.
        progress: Told from time to time how many came so far.

    Raises:
        InputError: Two URIs have one key.
    """
    hashes = array("q")
    order = [("key", "ascending"), ("found", "ascending")]
    tables = _tables(_counted(entries, hashes, progress), first=0)
    runs = [PackedTable.of(table.sort_by(order)) for table in tables]
    repeats = _repeats(runs, hashes)
    rows = merged((run.blocks() for run in runs), then_by="found")
    return Entries(PackedTable.of(_each_key_once(rows, repeats), SCHEMA))


def _counted(entries: Iterable[Entry], hashes: "array[int]", progress: Callable[[int], None]) -> Iterator[Entry]:
    for entry in entries:
        hashes.append(hash(entry.uri))
        if not len(hashes) % 1024:
            progress(len(hashes))
        yield entry


def _repeats(runs: Sequence[PackedTable], hashes: "array[int]") -> np.ndarray:
    """The `found` of entries whose URI came before; URIs are compared where their hashes are equal."""
    twice = repeated(hashes)
    if not twice:
        return np.array([], np.int64)
    first: dict[str, int] = {}
    later = []
    for run in runs:
        for block in run.blocks(["uri", "found"]):
            for uri, found in zip(block["uri"].to_pylist(), block["found"].to_pylist(), strict=True):
                if hash(uri) in twice:
                    other = first.setdefault(uri, found)
                    later += [max(found, other)] if other != found else []
                    first[uri] = min(found, other)
    return np.array(later, np.int64)


def _each_key_once(rows: Iterable[pa.Table], repeats: np.ndarray) -> Iterator[pa.Table]:
    last = None
    for table in rows:
        if len(repeats):
            table = table.filter(pa.array(~np.isin(table["found"], repeats)))
        table = table.select(SCHEMA.names)
        if not table.num_rows:
            continue
        with_last = table if last is None else pa.concat_tables([last, table])
        keys = with_last["key"].combine_chunks()
        equal = np.flatnonzero(pc.equal(keys[1:], keys[:-1]))
        if len(equal):
            _refuse(*with_last.slice(int(equal[0]), 2).to_pylist())
        last = table.slice(table.num_rows - 1)
        yield table


def _refuse(one: dict[str, str], other: dict[str, str]) -> None:
    raise InputError(
        f"input.uri: {shown(one['uri'])} and {shown(other['uri'])} would both be named {shown(one['key'])} in "
        "the output; rename one, or list them in a manifest with a column key"
    )
