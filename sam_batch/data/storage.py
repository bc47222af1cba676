"""Files and objects by exact key: the only door to what the user stores.

Every verb addresses exactly one key, byte for byte: no pattern is expanded, no listing is cached, and nothing is
streamed into its final name. A write is whole or absent. `storage_kinds` knows who does the work; this module checks
keys, names places and translates errors. It knows no images, no plan and no formats.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote_from_bytes

from sam_batch.config import StorageConfig
from sam_batch.data import tar
from sam_batch.data.naming import Naming
from sam_batch.data.storage_kinds import files_of, is_local
from sam_batch.data.storage_local import TEMPORARY, LocalFiles
from sam_batch.data.walk import Walk
from sam_batch.errors import (
    AlreadyExistsError,
    ImageError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
)
from sam_batch.records import FailureKind

NAMED = 10  # of many names
_IMAGE_FAILURES = {  # what the system calls a name that is not an ordinary file, or one too large
    errno.ENXIO: FailureKind.NOT_REGULAR_FILE,
    errno.EISDIR: FailureKind.NOT_REGULAR_FILE,
    errno.ELOOP: FailureKind.NOT_REGULAR_FILE,
    errno.EFBIG: FailureKind.TOO_MANY_BYTES,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored file or object.

    Attributes:
        key: Relative to the listed root, POSIX, always valid UTF-8 (bytes that are not become `%XX`).
        uri: Where `read_uri` finds exactly these bytes.
        size: Bytes; None where the listing could not tell.
        modified: Another one as soon as the content is: a file's time of change, an object's ETag or time. None where
            the storage tells neither.
    """

    key: str
    uri: str
    size: int | None = None
    modified: str | None = None


class Storage:
    """A root and the exact verbs below it. Cheap to construct; survives pickling.

    Every verb raises `NotFoundError`, `PermissionDeniedError` or `StorageError`; object stores are tried
    `config.attempts` times before that, where the trouble may pass.

    Attributes:
        root: The canonical URI: an absolute path, or `scheme://bucket/prefix`.
        config: As given.
    """

    def __init__(self, root: str, config: StorageConfig) -> None:
        self.config = config
        files, name = files_of(root, config)
        self._files = files.below(name.strip("/")) if name.strip("/") else files
        self.root = self._files.uri("").rstrip("/") or "/"

    def list(self, prefix: str = "", recursive: bool = True) -> Iterator[Entry]:
        """Everything in the folder `prefix`, in no order; a folder that does not exist is empty.

        Links are listed by their own name where they lead to files under the root, and not followed to folders.
        """
        folder = prefix.rstrip("/")
        return self.find(Walk(recursive, _checked(folder) if folder else ""))

    def find(self, walk: Walk) -> Iterator[Entry]:
        """The same, with folders entered, links followed and unreadable folders passed over as the walk says."""
        with _translated("list", self._files.uri(walk.start) if walk.start else self.root):
            for name, size, modified in self._files.list(walk):
                yield Entry(escape_undecodable(name), _escaped_uri(self._files.uri(name)), size, modified)

    def names(self) -> Iterator[str]:
        """Every name below the root but folders, in no order: also links, whatever they lead to, and `.tmp`."""
        with _translated("list", self.root):
            yield from map(escape_undecodable, self._files.names())

    def is_folder(self) -> bool:
        """Whether the root is a local folder that exists, or a prefix with objects below it."""
        with _translated("look up", self.root):
            return self._files.is_folder("")

    def stat(self, key: str) -> Entry:
        """The entry of one file; raises `NotFoundError` also where the key is a folder."""
        with _translated("look up", self._files.uri(key)):
            return Entry(key, self._files.uri(key), *self._files.stat(_checked(key)))

    def exists(self, key: str) -> bool:
        """Whether a file or object has exactly this key."""
        try:
            self.stat(key)
        except NotFoundError:
            return False
        return True

    def read(self, key: str) -> bytes:
        """The whole content."""
        with _translated("read", self._files.uri(key)):
            return self._files.read(_checked(key))

    def write(self, key: str, data: bytes) -> None:
        """Puts the content in place, whole and at once, replacing what was there; durable after the next `flush`."""
        with _translated("write", self._files.uri(key)):
            self._files.write(_checked(key), data)

    def replace(self, key: str, data: bytes) -> None:
        """Like `write`, durable on return: a power failure leaves the old content or the new."""
        with _translated("write", self._files.uri(key)):
            self._files.replace(_checked(key), data)

    def create(self, key: str, data: bytes) -> None:
        """Like `replace`, but only if the key is free.

        Of any number of racing callers exactly one succeeds; the others get `AlreadyExistsError`.

        Raises:
            ValueError: There is no data: some stores do not create empty objects exclusively.
        """
        if not data:
            raise ValueError(f"nothing to create under {key!r}: an empty object cannot be created exclusively")
        with _translated("create", self._files.uri(key)):
            self._files.create(_checked(key), data)

    def put_file(self, key: str, path: Path) -> None:
        """Like `replace`, from a local file, for what is too large for memory."""
        with _translated("write", self._files.uri(key)):
            self._files.put_file(_checked(key), path)

    def link(self, key: str, uri: str) -> None:
        """Gives a local file, behind an `Entry.uri`, a second name here; durable after the next `flush`.

        Fails where it lies on another disk, in an archive or in a bucket.
        """
        with _translated("link", uri):
            source, name = files_of(uri, self.config)
            if not (isinstance(self._files, LocalFiles) and isinstance(source, LocalFiles)) or tar.split_uri(uri):
                raise OSError(errno.EXDEV, "only files of one disk can be linked")
            self._files.link(_checked(key), source.uri(name))

    def delete(self, key: str) -> None:
        """Removes exactly this key; one that is not there is fine."""
        with _translated("delete", self._files.uri(key)):
            self._files.delete(_checked(key))

    def flush(self) -> None:
        """Returns when everything written so far survives a power failure."""
        with _translated("flush", self.root):
            self._files.flush()

    def may_be_written(self) -> bool:
        """Whether nothing is known that speaks against it; on disks the rights are looked at, and nothing is tried."""
        return self._files.may_be_written()

    def naming(self) -> Naming:
        """Which names can be written and told apart here; on disks that is tried out with files that are gone again."""
        with _translated("try names in", self.root):
            return self._files.naming()

    def clear_temporary(self, is_ours: Callable[[str], bool]) -> None:
        """Drops the unfinished writes of killed runs, and nobody else's; for the only writer of this root.

        Args:
            is_ours: Whether a key is one that such runs put files under: in buckets an unfinished upload has no other
                mark.
        """
        with _translated("clean", self.root):
            self._files.clear_temporary(is_ours)


def open_storage(uri: str, config: StorageConfig) -> Storage:
    """The storage below a folder or prefix; it need not exist yet.

    Raises:
        ConfigError: The scheme is unknown, or its package is not installed.
    """
    return Storage(uri, config)


def read_uri(uri: str, config: StorageConfig, max_bytes: int | None = None) -> bytes:
    """The whole content behind an `Entry.uri`, as it was listed.

    Raises:
        ImageError: It is no regular file, or has more than `max_bytes`; in both cases it was not read.
        StorageError: As the verbs of `Storage` do.
    """
    in_archive = tar.split_uri(uri)
    if in_archive is not None:
        return _read_member(*in_archive, config, max_bytes)
    files, name = files_of(uri, config)
    try:
        with _translated("read", uri):
            return files.read(name, max_bytes)
    except StorageError as error:
        kind = _IMAGE_FAILURES.get(getattr(error.__cause__, "errno", None) or 0)
        if kind is None:
            raise
        raise ImageError(kind, str(error)) from error


def _read_member(archive: str, member: tar.Member, config: StorageConfig, max_bytes: int | None) -> bytes:
    if max_bytes is not None and member.size > max_bytes:
        raise ImageError(FailureKind.TOO_MANY_BYTES, f"{member.size} bytes; at most {max_bytes} are allowed")
    data = read_range(archive, config, member.offset - tar.HEADER, tar.HEADER + member.size)
    if len(data) != tar.HEADER + member.size or not tar.check_header(data[: tar.HEADER], member):
        raise NotFoundError(f"{shown(archive)}: {shown(member.name)} is not where it was when the archive was listed")
    return data[tar.HEADER :]


def read_range(uri: str, config: StorageConfig, offset: int, size: int) -> bytes:
    """Some of the bytes behind a URI, fewer where it ends before; raises as the verbs of `Storage` do."""
    files, name = files_of(uri, config)
    with _translated("read", uri):
        return files.read_range(name, offset, size)


def locate(uri: str, config: StorageConfig) -> Entry:
    """The canonical URI of a file or object without looking at it; its key is the path from `/` or the bucket down."""
    in_archive = tar.split_uri(uri)
    if in_archive is not None:
        archive, member = in_archive
        return Entry(f"{locate(archive, config).key}/{member.name}", uri, member.size)
    files, name = files_of(uri, config)
    canonical = _escaped_uri(files.uri(name))
    return Entry(escape_undecodable(files.uri(name).partition("://")[2] or name), canonical)


def stat_uri(uri: str, config: StorageConfig) -> Entry:
    """The same, with size and modification; raises `NotFoundError` where there is no such regular file or object."""
    files, name = files_of(uri, config)
    with _translated("look up", uri):
        if not name:
            raise FileNotFoundError(errno.ENOENT, "a bucket is no object")
        size, modified = files.stat(name)
        return replace(locate(uri, config), size=size, modified=modified)


def lies_under(uri: str, folder: str, config: StorageConfig) -> bool:
    """Whether a place is a folder or prefix or lies below it, by whatever links and spellings either is named."""
    inner, outer = (open_storage(place, config).root for place in (uri, folder))
    if not (is_local(inner) and is_local(outer)):
        return _is_below(_usual_scheme(inner), _usual_scheme(outer))
    inner, outer = os.path.realpath(inner), os.path.realpath(outer)
    return _is_below(inner, outer) or any(_is_same_file(place, outer) for place in (Path(inner), *Path(inner).parents))


def _is_below(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer.rstrip('/')}/")


def _usual_scheme(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    return {"gcs": "gs", "az": "abfs"}.get(scheme, scheme) + separator + rest


def _is_same_file(place: Path, other: str) -> bool:
    """Where a file system ignores case, or is mounted twice, one folder has several real paths."""
    try:
        return place.samefile(other)
    except OSError:
        return False


def shown(place: str) -> str:
    """A name as it can be printed on one line: itself, or quoted with its odd characters escaped."""
    return place if place.isprintable() else repr(place)


def some(names: Sequence[str], separator: str = ", ", count: int | None = None) -> str:
    """The first of some names, and how many there are: of a `count`, where not all are in the list."""
    first, count = separator.join(map(shown, names[:NAMED])), len(names) if count is None else count
    return first if count <= NAMED else f"{first} and {count - NAMED} more"


def escape_undecodable(name: str) -> str:
    """The name with the bytes that are not valid UTF-8 as `%XX`; other names are returned as they are."""
    if name.isascii() or _is_utf8(name):
        return name
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", name)


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _escaped_uri(uri: str) -> str:
    """The URI as it is, or as `file://` with percent-encoded bytes where it would not be valid UTF-8."""
    if uri.isascii() or _is_utf8(uri):
        return uri
    return "file://" + quote_from_bytes(uri.encode("utf-8", "surrogateescape"))


def _checked(key: str) -> str:
    """The key, if it names a place below the root on every kind of storage."""
    parts = key.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or parts[0] == TEMPORARY or "\0" in key or not _is_utf8(key):
        raise StorageError(f"{key!r} is not the name of a file or object below a folder")
    return key


@contextmanager
def _translated(verb: str, place: str) -> Iterator[None]:
    """Turns the system's errors into this package's: the one place where that happens."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise _class_of(error)(f"cannot {verb} {shown(place)}: {shown(reason)}") from error


def _class_of(error: OSError) -> type[StorageError]:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return NotFoundError
        case FileExistsError():
            return AlreadyExistsError
        case PermissionError():
            return PermissionDeniedError
        case _:
            return StorageError
