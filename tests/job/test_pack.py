"""A shard that travels as one row."""

import pyarrow as pa

from sam_batch.job.pack import pack, unpack


def test_a_table_travels_as_one_row_with_all_it_says():
    table = pa.table({"a": [1, 2, 3], "b": [b"", b"x" * 1000, None]}).replace_schema_metadata({"shard": "7"})
    row = pack(table)
    assert (row.num_rows, row.column_names) == (1, ["shard"])
    assert unpack(row).equals(table, check_metadata=True)


def test_a_table_without_rows_travels_too():
    empty = pa.table({"a": pa.array([], pa.int64())})
    assert unpack(pack(empty)).equals(empty)
