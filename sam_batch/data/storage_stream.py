"""A stored file or object as a stream that can be read bit by bit, forwards or from any place.

For files that are larger than memory should hold; what is read whole goes through `storage.read_uri`.
"""

import io

from sam_batch.config import StorageConfig
from sam_batch.data.storage import read_range, stat_uri
from sam_batch.data.storage_kinds import is_local

LOCAL_BLOCK, REMOTE_BLOCK = 1 << 20, 8 << 20  # a request costs as much as megabytes


def open_stream(uri: str, config: StorageConfig) -> io.BufferedReader:
    """Open what lies behind a URI for reading.

    Raises:
        NotFoundError: There is no such file or object.
        StorageError: It cannot be reached; reading raises this, too.
    """
    block = LOCAL_BLOCK if is_local(uri) else REMOTE_BLOCK
    return io.BufferedReader(_Stream(uri, stat_uri(uri, config).size or 0, config), block)


class _Stream(io.RawIOBase):
    def __init__(self, uri: str, size: int, config: StorageConfig) -> None:
        self._uri, self._size, self._config, self._at = uri, size, config, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._size - self._at)
        data = read_range(self._uri, self._config, self._at, wanted) if wanted > 0 else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
