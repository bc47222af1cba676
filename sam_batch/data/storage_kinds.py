"""Which kind of storage a URI lies in, by its scheme. Nothing is opened here."""

import os
import re
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from sam_batch.config import StorageConfig
from sam_batch.data import storage_hub
from sam_batch.data.storage_hub import HubFiles
from sam_batch.data.storage_local import LocalFiles
from sam_batch.data.storage_objects import FsspecObjects, S3Objects
from sam_batch.errors import ConfigError

SCHEMES = ("s3", "gs", "gcs", "abfs", "az", "hf", "memory")
# With the colon, "simplecache::s3://..." is one unknown scheme and not a file of that name.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://(.*)", re.DOTALL)

Files: TypeAlias = LocalFiles | S3Objects | FsspecObjects | HubFiles
"""Each has the verbs of `storage.Storage`, of names relative to its root, and fails with `OSError`."""


def files_of(uri: str, config: StorageConfig) -> tuple[Files, str]:
    """The storage a URI lies in, and its name there.

    Raises:
        ConfigError: The scheme is unknown, names no bucket, or its package is not installed.
    """
    scheme, rest = _split(uri)
    if scheme == "file":
        return LocalFiles("/"), _absolute(rest)
    if scheme == "hf":
        place, path = storage_hub.split(rest)
        return HubFiles(place, "", config), path
    bucket, _, name = rest.partition("/")
    if scheme not in SCHEMES or not bucket:
        raise ConfigError(
            f"{uri!r} is not a place this program reads or writes: "
            f"give a local path or file://, {', '.join(one + '://' for one in SCHEMES[:-1])} with a bucket"
        )
    if scheme == "s3":
        return S3Objects(bucket, "", config), name
    return FsspecObjects(scheme, bucket, "", config), name


def is_local(uri: str) -> bool:
    """Whether the URI is a path or `file://` URI of this machine."""
    return _split(uri)[0] == "file"


def bucket_of(uri: str) -> str:
    """The bucket or repository that an object lies in."""
    scheme, rest = _split(uri)
    return f"{scheme}://{storage_hub.split(rest)[0] if scheme == 'hf' else rest.partition('/')[0]}"


def refuse_read_only(uri: str) -> None:
    """Raise ConfigError for a place that this program reads and never writes."""
    if _split(uri)[0] == "hf":
        raise ConfigError(
            f"{uri} is read and not written: choose a folder or a bucket; what output.exports=[hf] makes there can be "
            "uploaded: hf upload OWNER/NAME OUTPUT/hf --repo-type dataset"
        )


def _split(uri: str) -> tuple[str, str]:
    """The scheme in lower case, and what follows; a path is `file`."""
    match = _SCHEME.fullmatch(uri)
    if match is None:
        return "file", uri
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        return scheme, unquote_to_bytes("/" + rest.lstrip("/")).decode("utf-8", "surrogateescape")
    return scheme, rest


def _absolute(path: str) -> str:
    """An absolute path without its leading slash; links in it are kept, as another machine may have others."""
    if "\0" in path:
        raise ConfigError(f"{path!r} is not a path: it holds a NUL character")
    return os.path.abspath(os.path.expanduser(path)).lstrip("/")  # noqa: PTH100, PTH111 - pathlib keeps ".."
