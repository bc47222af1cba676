"""A shard as one row: its table as an Arrow stream.

So no stage of Ray's, whatever its batch size or idea of a good block, can ever split or join shards. This module knows
neither Ray nor what is in a table.
"""

import pyarrow as pa


def pack(table: pa.Table) -> pa.Table:
    """One row, with one column `shard` of bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = sink.getvalue()
    offsets = pa.array([0, stream.size], pa.int64()).buffers()[1]
    return pa.table({"shard": pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, stream])})


def unpack(row: pa.Table) -> pa.Table:
    """The table again, metadata and all; its columns are views of the row's bytes."""
    return pa.ipc.open_stream(row["shard"][0].as_buffer()).read_all()
