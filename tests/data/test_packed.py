"""Packed tables are tables, only in blocks."""

from itertools import chain, pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data import packed
from sam_batch.data.packed import PackedTable, SortedRows, merged, of_length

SCHEMA = pa.schema([("key", pa.string()), ("found", pa.int64())])
KEYS = st.lists(st.text(max_size=3), max_size=20)
CUTS = st.lists(st.integers(0, 20), max_size=4)


def table(keys, first=0):
    return pa.table({"key": keys, "found": range(first, first + len(keys))}, schema=SCHEMA)


@pytest.fixture(autouse=True, scope="module")
def _short_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "BLOCK_ROWS", 3)
        yield


@given(KEYS, KEYS)
def test_what_was_packed_is_read(first, second):
    rows = PackedTable.of([table(first), table(second)], SCHEMA) + PackedTable.of(table(first))
    whole = pa.concat_tables([table(first), table(second), table(first)])
    assert rows.read().equals(whole)
    assert (rows.num_rows, rows["key"].to_pylist(), list(rows.texts("key"))) == (
        len(whole),
        *2 * [[*first, *second, *first]],
    )
    assert pa.concat_tables([SCHEMA.empty_table().select(["found"]), *rows.blocks(["found"])]).equals(
        whole.select(["found"])
    )


@given(KEYS, st.integers(0, 20), st.integers(0, 20))
def test_slices_and_rows_are_those_of_the_table(keys, start, length):
    rows = PackedTable.of(table(keys))
    assert rows.slice(start, length).equals(table(keys).slice(start, length))
    places = [place for place in (start, length, start) if place < len(keys)]
    expected = table(keys).take(pa.array(places, pa.int64()))
    assert rows.take(places).equals(expected)
    assert [rows.row(place) for place in places] == expected.to_pylist()


@given(KEYS, CUTS)
def test_equal_rows_are_equal_however_they_are_cut(keys, cuts):
    bounds = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    parts = [PackedTable.of(table(keys).slice(a, b - a)) for a, b in pairwise(bounds)]
    assert sum(parts, PackedTable(SCHEMA)).equals(PackedTable.of(table(keys)))
    assert not PackedTable.of(table([*keys, "x"])).equals(PackedTable.of(table(keys)))


@given(KEYS, KEYS, st.integers(1, 7))
def test_tables_are_cut_to_one_length(first, second, rows):
    cut = list(of_length([table(first), table(second)], rows))
    assert [piece.num_rows for piece in cut[:-1]] == [rows] * (len(cut) - 1)
    assert pa.concat_tables([SCHEMA.empty_table(), *cut])["key"].to_pylist() == [*first, *second]


@given(st.lists(KEYS, max_size=4))
def test_sorted_runs_are_merged_in_order(runs):
    tables = [table(sorted(keys), first=20 * number) for number, keys in enumerate(runs)]
    rows = merged((PackedTable.of(run).blocks() for run in tables), then_by="found")
    found = chain.from_iterable(zip(*(block[name].to_pylist() for name in SCHEMA.names), strict=True) for block in rows)
    pairs = (zip(*(run[name].to_pylist() for name in SCHEMA.names), strict=True) for run in tables)
    assert list(found) == sorted(chain.from_iterable(pairs))


def test_rows_are_taken_from_the_front_once():
    rows = SortedRows([table(["a", "c"]), table(["c", "d"])])
    assert [part["key"].to_pylist() for part in rows.up_to("b")] == [["a"]]
    assert [part["key"].to_pylist() for part in rows.up_to("c")] == [["c"], ["c"]]
    assert [part["key"].to_pylist() for part in rows.up_to(None)] == [["d"]]
    assert not rows
