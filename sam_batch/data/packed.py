"""Tables of millions of rows: compressed blocks in memory, of which one at a time is unpacked; and their merging.

A listing and a plan of ten million images take some hundred megabytes so, and not gigabytes. It knows no images, and
touches no files.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BLOCK_ROWS: Final = 1 << 13
_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="zstd")


class PackedTable:
    """A table that is unpacked block by block.

    Args:
        schema: Of all blocks.
        blocks: Each with at least one row: how many, and their compressed Arrow stream.
    """

    def __init__(self, schema: pa.Schema, blocks: Sequence[tuple[int, pa.Buffer]] = ()) -> None:
        self.schema = schema
        self._blocks = tuple(blocks)
        self._ends = list(accumulate(rows for rows, _ in blocks))
        self._unpacked: tuple[int, pa.Table] | None = None

    @classmethod
    def of(cls, tables: pa.Table | Iterable[pa.Table], schema: pa.Schema | None = None) -> Self:
        """Pack tables, one after the other, in blocks of `BLOCK_ROWS`; of none the schema must be said."""
        if isinstance(tables, pa.Table):
            schema, tables = tables.schema, [tables]
        blocks = []
        for table in of_length(tables, BLOCK_ROWS):
            schema = schema or table.schema
            blocks.append((table.num_rows, _packed(table)))
        if schema is None:
            raise ValueError("no table and no schema")
        return cls(schema, blocks)

    @property
    def num_rows(self) -> int:
        """Rows of all blocks."""
        return self._ends[-1] if self._ends else 0

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows, in order, some ten thousand at a time; of some columns, if they are named."""
        names = self.schema.names
        wanted = None if columns is None else sorted(map(names.index, columns))
        for _, block in self._blocks:
            options = pa.ipc.IpcReadOptions(included_fields=wanted)
            table = pa.ipc.open_stream(block, options=options).read_all()
            yield table if columns is None else table.select(list(columns))

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows unpacked, for tables that are known to be small, or for few columns."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.concat_tables([schema.empty_table(), *self.blocks(columns)])

    def __getitem__(self, column: str) -> pa.ChunkedArray:
        """A whole column."""
        return self.read([column])[column]

    def texts(self, column: str) -> Iterator[str]:
        """The values of a column of text."""
        for block in self.blocks([column]):
            yield from block[column].to_pylist()

    def slice(self, start: int, length: int) -> pa.Table:
        """Some rows that follow each other."""
        found = list(self.slices(start, length))
        return found[0] if len(found) == 1 else pa.concat_tables([self.schema.empty_table(), *found])

    def slices(self, start: int, length: int) -> Iterator[pa.Table]:
        """The same, block by block."""
        stop = min(start + length, self.num_rows)
        while start < stop:
            number = bisect_right(self._ends, start)
            begin = self._ends[number] - self._blocks[number][0]
            yield self._block(number).slice(start - begin, stop - start)
            start = self._ends[number]

    def take(self, places: Sequence[int] | NDArray[np.int64]) -> pa.Table:
        """Rows by their places, in any order; quick where the places ascend."""
        sought = np.asarray(places, np.int64)
        numbers = np.searchsorted(self._ends, sought, side="right")
        found = [self.schema.empty_table()]
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(sought)] if len(sought) else []
        for start, stop in pairwise(cuts):
            number = int(numbers[start])
            begin = self._ends[number] - self._blocks[number][0]
            found.append(self._block(number).take(pa.array(sought[start:stop] - begin)))
        return pa.concat_tables(found)

    def row(self, place: int) -> dict[str, Any]:
        """One row."""
        row: dict[str, Any] = self.slice(place, 1).to_pylist()[0]
        return row

    def equals(self, other: "PackedTable") -> bool:
        """Whether two tables have the same rows, however they are cut into blocks."""
        if self.num_rows != other.num_rows or not self.schema.equals(other.schema):
            return False
        return all(map(pa.Table.equals, *(of_length(one.blocks(), BLOCK_ROWS) for one in (self, other))))

    def __add__(self, other: "PackedTable") -> "PackedTable":
        """The rows of this one, then of the other."""
        return PackedTable(self.schema, [*self._blocks, *other._blocks])

    def _block(self, number: int) -> pa.Table:
        """A block unpacked; the last one is kept, since who asks for a row asks for its neighbour next."""
        if self._unpacked is None or self._unpacked[0] != number:
            self._unpacked = number, pa.ipc.open_stream(self._blocks[number][1]).read_all()
        return self._unpacked[1]


def _packed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSED) as writer:
        writer.write_table(table)
    return pa.py_buffer(sink.getvalue().to_pybytes())  # a sink keeps up to twice the memory


def of_length(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly this length, each in one chunk; the last one may be shorter, none is empty."""
    waiting, count = list[pa.Table](), 0
    for table in tables:
        while count + table.num_rows >= rows:
            whole = pa.concat_tables([*waiting, table.slice(0, rows - count)])
            table = table.slice(rows - count)
            waiting, count = [], 0
            yield whole.combine_chunks()
        if table.num_rows:
            waiting.append(table)
            count += table.num_rows
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def repeated(hashes: "array[int]") -> set[int]:
    """The 64-bit numbers that are there more than once; sorts them where they lie, since copies take as much each."""
    values = np.frombuffer(hashes, np.int64)
    values.sort()
    return set(values[1:][values[1:] == values[:-1]].tolist())


class SortedRows:
    """Rows that are sorted by their column `key`, taken from the front.

    Args:
        tables: One after the other, each sorted and not before the one before it.
    """

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables = iter(tables)
        self._front: pa.Table | None = None
        self._keys: list[str] = []
        self._taken = 0  # of the front
        self._advance()

    def __bool__(self) -> bool:
        """Whether there are rows left."""
        return self._front is not None

    @property
    def last_at_hand(self) -> str:
        """The last key of the rows that are unpacked now."""
        return self._keys[-1]

    def up_to(self, bound: str | None) -> list[pa.Table]:
        """Take all rows whose key is not above a bound; all there are, if it is None."""
        taken = []
        while self._front is not None:
            count = len(self._keys) if bound is None else bisect_right(self._keys, bound, self._taken)
            if count > self._taken:
                taken.append(self._front.slice(self._taken, count - self._taken))
            self._taken = count
            if count < len(self._keys):
                break
            self._advance()
        return taken

    def _advance(self) -> None:
        self._front = next((table for table in self._tables if table.num_rows), None)
        self._keys = [] if self._front is None else self._front["key"].to_pylist()
        self._taken = 0


def merged(runs: Iterable[Iterable[pa.Table]], then_by: str) -> Iterator[pa.Table]:
    """The rows of several sorted runs, sorted by their keys and, among equal ones, by another column."""
    rows = [run for run in map(SortedRows, runs) if run]
    while rows:
        bound = min(run.last_at_hand for run in rows)
        taken = [tables for tables in (run.up_to(bound) for run in rows) if tables]
        table = pa.concat_tables(chain.from_iterable(taken))
        yield table if len(taken) == 1 else table.sort_by([("key", "ascending"), (then_by, "ascending")])
        rows = [run for run in rows if run]
