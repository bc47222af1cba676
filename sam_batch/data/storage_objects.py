"""Objects in buckets, by exact key: S3 by its own calls, other stores through fsspec's single-object verbs.

fsspec's convenient verbs expand `*`, `?` and `[` even in names that exist, and its writers publish what was written
before an exception; neither is used. Errors are plain `OSError`s; `storage` translates them.
"""

import errno
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from fsspec.asyn import sync

from sam_batch.config import StorageConfig
from sam_batch.data.naming import Naming
from sam_batch.data.storage_clients import client_of, tried
from sam_batch.data.walk import Walk

_WRITER = "writer"
# What stores do not take, or clients read as something else than a name. Azure makes "\\" a slash.
_GOOGLE, _AZURE = "\r\n", "#?\\" + "".join(map(chr, range(32)))
_REFUSED = {"gs": _GOOGLE, "gcs": _GOOGLE, "abfs": _AZURE, "az": _AZURE}
# What clients call an object's version, or else its time.
_MODIFIED = ("etag", "ETag", "generation", "updated", "last_modified", "LastModified", "mtime", "created")


class S3Objects:
    """The objects of one bucket under a prefix."""

    def __init__(self, bucket: str, prefix: str, config: StorageConfig) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._config = config
        client_of("s3", "", config)  # a missing package shows here, not in a worker

    def below(self, name: str) -> "S3Objects":
        """The same, for a longer prefix."""
        return S3Objects(self._bucket, f"{self._prefix}{name}/", self._config)

    def uri(self, name: str) -> str:
        """The URI, with the key as it is."""
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def list(self, walk: Walk) -> Iterator[tuple[str, int | None, str | None]]:
        """Names, sizes and ETags below a prefix; the empty objects that stand for folders are left out."""
        start = f"{self._prefix}{walk.start}/" if walk.start else self._prefix
        wanted = {"Prefix": start} if walk.recursive else {"Prefix": start, "Delimiter": "/"}
        while True:
            page = self._call("list_objects_v2", **wanted)
            for found in page.get("Contents", ()):
                name = found["Key"][len(self._prefix) :]
                if not name.endswith("/") and walk.reaches(name):
                    yield name, found["Size"], _modified(found)
            for folder in page.get("CommonPrefixes", ()):
                walk.reaches(folder["Prefix"][len(self._prefix) :])
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def names(self) -> Iterator[str]:
        """Names of all objects."""
        return (name for name, _, _ in self.list(Walk()))

    def is_folder(self, name: str) -> bool:
        """Whether there is anything below a prefix."""
        prefix = f"{self._prefix}{name}/" if name else self._prefix
        return bool(self._call("list_objects_v2", Prefix=prefix, MaxKeys=1).get("Contents"))

    def stat(self, name: str) -> tuple[int, str | None]:
        """Bytes and ETag, by a HEAD request."""
        head = self._call("head_object", Key=self._prefix + name)
        return int(head["ContentLength"]), _modified(head)

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """The whole object, by one request: never parts of two versions."""
        client = self._client()
        key = self._prefix + name
        return tried(self._config, lambda: sync(client.loop, _get, client, self._bucket, key, max_bytes))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Some of the bytes, fewer where the object ends."""
        client = self._client()
        key, wanted = self._prefix + name, f"bytes={offset}-{offset + size - 1}"
        return tried(self._config, lambda: sync(client.loop, _get, client, self._bucket, key, None, Range=wanted))

    def write(self, name: str, data: bytes) -> None:
        """Puts the whole object."""
        self._call("put_object", Key=self._prefix + name, Body=data)

    replace = write  # an acknowledged object is durable

    def create(self, name: str, data: bytes) -> None:
        """Puts the object with `If-None-Match: *`.

        An answer that got lost makes the next try, ours or the HTTP client's own, fail with "name taken" by ourselves;
        a token stored beside the object tells that from another writer.
        """
        token = secrets.token_hex(16)
        try:
            self._call("put_object", Key=self._prefix + name, Body=data, IfNoneMatch="*", Metadata={_WRITER: token})
        except FileExistsError:
            if self._call("head_object", Key=self._prefix + name)["Metadata"].get(_WRITER) != token:
                raise

    def put_file(self, name: str, path: Path) -> None:
        """Puts a file, in parts if it is large; the object appears when all have arrived."""
        client = self._client()
        tried(self._config, lambda: client.put_file(str(path), f"{self._bucket}/{self._prefix}{name}"))

    def delete(self, name: str) -> None:
        """Removes one object."""
        self._call("delete_object", Key=self._prefix + name)

    def flush(self) -> None:
        """Nothing to do: an acknowledged object is durable."""

    def may_be_written(self) -> bool:
        """Only a write would tell."""
        return True

    def naming(self) -> Naming:
        """Object stores take names as they are."""
        return Naming()

    def clear_temporary(self, is_ours: Callable[[str], bool]) -> None:
        """Aborts uploads of our keys that were left in parts; without the right to list them they stay, invisible."""
        wanted = {"Prefix": self._prefix}
        with suppress(PermissionError):
            while True:
                page = self._call("list_multipart_uploads", **wanted)
                for upload in page.get("Uploads", ()):
                    if is_ours(upload["Key"][len(self._prefix) :]):
                        self._call("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
                if not page.get("IsTruncated"):
                    return
                wanted |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _client(self) -> Any:
        return client_of("s3", "", self._config)

    def _call(self, method: str, **request: Any) -> dict[str, Any]:
        client = self._client()
        return tried(self._config, lambda: client.call_s3(method, Bucket=self._bucket, **request))


async def _get(client: Any, bucket: str, key: str, max_bytes: int | None, **request: str) -> bytes:
    answer = await client._call_s3("get_object", Bucket=bucket, Key=key, **request)
    size = answer["ContentLength"]
    async with answer["Body"] as body:
        check_size(size, max_bytes)
        data: bytes = await body.read()
    if len(data) != size:
        raise ConnectionResetError(errno.ECONNRESET, f"the answer ended after {len(data)} of {size} bytes")
    return data


class FsspecObjects:
    """The objects of one bucket or container under a prefix, in any store fsspec knows."""

    def __init__(self, scheme: str, bucket: str, prefix: str, config: StorageConfig) -> None:
        self._scheme = scheme
        self._bucket = bucket
        self._prefix = prefix
        self._config = config
        client_of(scheme, bucket, config)  # a missing package shows here, not in a worker

    def below(self, name: str) -> "FsspecObjects":
        """The same, for a longer prefix."""
        return FsspecObjects(self._scheme, self._bucket, f"{self._prefix}{name}/", self._config)

    def uri(self, name: str) -> str:
        """The URI, with the key as it is."""
        return f"{self._scheme}://{self._bucket}/{self._prefix}{name}"

    def list(self, walk: Walk) -> Iterator[tuple[str, int | None, str | None]]:
        """Names, sizes and modifications below a prefix."""
        start = self._path(walk.start) if walk.start else self._path("").rstrip("/")
        skipped = len(self._path("").rstrip("/")) + 1
        for path, info in self._call("find", start, detail=True).items():
            if info["type"] == "file" and path != start and walk.reaches(path[skipped:]):
                yield path[skipped:], info["size"], _modified(info)

    def names(self) -> Iterator[str]:
        """Names of all objects."""
        return (name for name, _, _ in self.list(Walk()))

    def is_folder(self, name: str) -> bool:
        """Whether there is anything below a prefix."""
        try:
            return bool(self._call("info", self._path(name))["type"] == "directory")
        except FileNotFoundError:
            return False

    def stat(self, name: str) -> tuple[int, str | None]:
        """Bytes and modification of one object."""
        info = self._call("info", self._path(name))
        if info["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "not an object")
        return int(info["size"]), _modified(info)

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """The whole object."""
        size, _ = self.stat(name)
        check_size(size, max_bytes)
        data: bytes = self._call("cat_file", self._path(name))
        if len(data) != size:
            raise OSError(errno.EIO, f"{len(data)} of {size} bytes: it changed while it was read")
        return data

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Some of the bytes, fewer where the object ends."""
        data: bytes = self._call("cat_file", self._path(name), start=offset, end=offset + size)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Puts the whole object."""
        self._call("pipe_file", self._path(name), data)

    replace = write  # an acknowledged object is durable

    def create(self, name: str, data: bytes) -> None:
        """Puts the object on the store's own condition that there is none; equal content counts as ours."""
        try:
            self._call("pipe_file", self._path(name), data, mode="create")
        except FileExistsError:
            if self.read(name) != data:
                raise

    def put_file(self, name: str, path: Path) -> None:
        """Puts a file."""
        self._call("put_file", str(path), self._path(name))

    def delete(self, name: str) -> None:
        """Removes one object."""
        with suppress(FileNotFoundError):
            self._call("rm_file", self._path(name))

    def flush(self) -> None:
        """Nothing to do: an acknowledged object is durable."""

    def may_be_written(self) -> bool:
        """Only a write would tell."""
        return True

    def naming(self) -> Naming:
        """Which characters the store or its client does not take."""
        return Naming(refused=_REFUSED.get(self._scheme, ""))

    def clear_temporary(self, is_ours: Callable[[str], bool]) -> None:
        """Nothing to do: these stores drop unfinished uploads themselves."""

    def _path(self, name: str) -> str:
        path = str(self._client()._strip_protocol(self.uri(name)))
        refused = set(_REFUSED.get(self._scheme, ""))
        if not path.endswith(name.rstrip("/")) or refused.intersection(name):
            raise OSError(errno.EINVAL, "the client of this kind of storage cannot address this name")
        return path

    def _client(self) -> Any:
        return client_of(self._scheme, self._bucket, self._config)

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        client = self._client()
        return tried(self._config, lambda: getattr(client, method)(*args, **options))


def _modified(info: Mapping[str, Any]) -> str | None:
    """The version or time in what a store says of an object; listings and single answers spell it differently."""
    mark = next((info[name] for name in _MODIFIED if info.get(name)), None)
    mark = mark.timestamp() if isinstance(mark, datetime) else mark
    return None if mark is None else str(mark).strip('"')


def check_size(size: int, max_bytes: int | None) -> None:
    """Raise OSError of more bytes than are allowed."""
    if max_bytes is not None and size > max_bytes:
        raise OSError(errno.EFBIG, f"{size} bytes; at most {max_bytes} are allowed")
