import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.config import StorageConfig
from sam_batch.data.storage_stream import open_stream
from sam_batch.errors import NotFoundError

DATA = bytes(range(256)) * 20
positions = st.integers(0, len(DATA) + 5)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "file"
    path.write_bytes(DATA)
    return str(path)


@given(st.lists(st.tuples(positions, positions, st.sampled_from([io.SEEK_SET, io.SEEK_END])), max_size=5))
def test_it_reads_as_a_file_does(uri, reads):
    with open_stream(uri, StorageConfig()) as stream, io.BytesIO(DATA) as file:
        for at, size, whence in reads:
            offset = -at if whence == io.SEEK_END and at <= len(DATA) else at
            assert stream.seek(offset, whence) == file.seek(offset, whence)
            assert stream.read(size) == file.read(size)
            assert stream.tell() == file.tell()


def test_what_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        open_stream(str(tmp_path / "none"), StorageConfig())
