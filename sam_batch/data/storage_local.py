"""Files below a local folder, by exact name: whole, atomic, and without following links out of the folder.

New content is written to a hidden `.tmp` folder under the root, which is on the same file system as the final name,
and appears there by one rename or link; `storage_exclusive` gives a name only once. Names are `str` as `os.fsdecode`
gives them, so any bytes can be addressed. Errors are plain `OSError`s; `storage` translates them.
"""

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import BinaryIO

from sam_batch.data.naming import SUSPECTS, Naming
from sam_batch.data.storage_exclusive import put_exclusively
from sam_batch.data.walk import Walk

TEMPORARY = ".tmp"
_TEMPORARY_NAME = re.compile("sam-batch-[0-9a-f]{32}.*", re.DOTALL)
_LOCK = f"{TEMPORARY}/sam-batch.lock"
_NO_NAME = {errno.EINVAL, errno.ENOENT, errno.EILSEQ, errno.EPERM, errno.EIO}  # of a name with odd characters
# What SMB, VirtualBox and some FUSE mounts say of syncing a folder, and old kernels of syncing a file system.
_NOT_SYNCED = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_CHUNK = 1 << 20


class LocalFiles:
    """The files below one folder, which need not exist yet."""

    def __init__(self, root: str) -> None:
        self._root = root

    def below(self, name: str) -> "LocalFiles":
        """The same, for a folder further down."""
        return LocalFiles(self.uri(name))

    def uri(self, name: str) -> str:
        """The absolute path."""
        return os.path.join(self._root, name)

    def list(self, walk: Walk) -> Iterator[tuple[str, int | None, str | None]]:
        """Names, sizes and times of change of what lies in a folder, `.tmp` left out.

        Links to files under the root are listed, others where the walk says so. Loops end, since each folder is seen
        once: by its own name, or else by the first of the links that lead to it. What is listed without a size could
        not be looked at: a broken link, a pipe, a socket or a device.
        """
        root = os.path.realpath(self._root)
        folders, links = [(walk.start, os.path.realpath(self.uri(walk.start)))], list[tuple[str, str]]()
        seen = set()
        while folders or links:
            folder, real = folders.pop() if folders else heappop(links)
            if real in seen:
                continue
            seen.add(real)
            for entry in self._scan_for(walk, folder):
                name = f"{folder}/{entry.name}" if folder else entry.name
                kind = _kind_of(entry, root)
                if kind is _Kind.FOLDER:
                    if name != TEMPORARY and walk.enters(name):
                        folders.append((name, f"{real}/{entry.name}"))
                elif kind is _Kind.LINK_TO_FOLDER:
                    if walk.enters(name) and walk.follows(name, to_folder=True):
                        heappush(links, (name, os.path.realpath(entry.path)))
                elif kind is _Kind.FILE or walk.follows(name, to_folder=False):
                    yield name, *_stat_of(entry)

    def _scan_for(self, walk: Walk, folder: str) -> Sequence[os.DirEntry[str]]:
        try:
            return self._scan(folder)
        except OSError as error:
            walk.fails(folder, error)
            return ()

    def _scan(self, folder: str) -> Sequence[os.DirEntry[str]]:
        with os.scandir(self.uri(folder)) as entries:
            return tuple(entries)

    def names(self) -> Iterator[str]:
        """Names of everything in the folder that is no folder itself, in no order."""
        folders = [""] if os.path.lexists(self._root) else []
        while folders:
            folder = folders.pop()
            for entry in self._scan(folder):
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                else:
                    yield name

    def is_folder(self, name: str) -> bool:
        """Whether there is one; raises where that may not be known."""
        try:
            return stat.S_ISDIR(os.stat(self.uri(name)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def stat(self, name: str) -> tuple[int, str | None]:
        """Bytes and time of change, in nanoseconds, of a regular file."""
        status = os.stat(self.uri(name))
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file")
        return status.st_size, str(status.st_mtime_ns)

    def read(self, name: str, max_bytes: int | None = None) -> bytes:
        """The whole file; pipes, devices and folders fail at once instead of blocking."""
        with self._opened(name) as (file, size):
            if max_bytes is not None and size > max_bytes:
                raise OSError(errno.EFBIG, f"{size} bytes; at most {max_bytes} are allowed")
            data = file.read(size + 1)
            if len(data) != size:
                raise OSError(errno.EIO, f"{len(data)} of {size} bytes: it changed while it was read")
        return data

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Some of the bytes, fewer where the file ends."""
        with self._opened(name) as (file, _):
            file.seek(offset)
            return file.read(size)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        """A regular file for reading, and its size."""
        # Opening a pipe for reading waits for a writer unless it may not.
        descriptor = os.open(self.uri(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ENXIO, "not a regular file")
            yield file, status.st_size

    def write(self, name: str, data: bytes) -> None:
        """Puts the content in place by a rename."""
        with self._temporary() as (temporary, file):
            file.write(data)
            file.close()
            os.replace(temporary, self._with_folder(name))

    def replace(self, name: str, data: bytes) -> None:
        """Likewise; the content is durable before the rename, and the name after it."""
        with self._temporary() as (temporary, file):
            file.write(data)
            self._put_durably(os.replace, temporary, file, name)

    def put_file(self, name: str, path: Path) -> None:
        """Like `replace`, from a file."""
        with open(path, "rb") as source, self._temporary() as (temporary, file):
            shutil.copyfileobj(source, file, _CHUNK)
            self._put_durably(os.replace, temporary, file, name)

    def link(self, name: str, path: str) -> None:
        """Puts a second name of a file of the same disk in place by a rename."""
        temporary = self._with_folder(f"{TEMPORARY}/sam-batch-{secrets.token_hex(16)}")
        os.link(os.path.realpath(path), temporary)
        try:
            os.replace(temporary, self._with_folder(name))
        finally:
            with suppress(FileNotFoundError):  # renaming a file to another name of its own does nothing
                os.unlink(temporary)

    def create(self, name: str, data: bytes) -> None:
        """Like `replace`, but fails if the name is taken, of racing callers for all but one."""
        with self._temporary() as (temporary, file):
            file.write(data)
            self._put_durably(partial(put_exclusively, lock=self.uri(_LOCK)), temporary, file, name)

    def _put_durably(self, put: Callable[[str, str], None], temporary: str, file: BinaryIO, name: str) -> None:
        file.flush()
        os.fsync(file.fileno())
        final = self._with_folder(name)
        put(temporary, final)
        self._sync_folders(os.path.dirname(final))

    def delete(self, name: str) -> None:
        """Removes one file; its folder stays."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self.uri(name))

    def flush(self) -> None:
        """Writes the whole file system's dirty pages: one call instead of one a file."""
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            _sync_file_system(descriptor)
        finally:
            os.close(descriptor)

    def may_be_written(self) -> bool:
        """Whether files can be put here, or a folder for them be made, as far as rights and mounts tell."""
        return os.access(self._nearest_folder(), os.W_OK | os.X_OK)

    def _nearest_folder(self) -> str:
        """The root, or what there is of its path."""
        return next(str(place) for place in (Path(self._root), *Path(self._root).parents) if place.is_dir())

    def naming(self) -> Naming:
        """Finds out, by files with odd names, which names the file system takes and tells apart.

        They lie in `.tmp` if there is one, else hidden in the root, or in the nearest folder to be: no folder is made.
        """
        temporary = self.uri(TEMPORARY)
        folder, mark = (temporary, "") if os.path.isdir(temporary) else (self._nearest_folder(), ".")
        token = os.path.join(folder, f"{mark}sam-batch-{secrets.token_hex(16)}")

        def finds(made: str, asked: str) -> bool:
            with self._tried(f"{token}{made}") as taken:
                return taken and os.path.lexists(self.uri(f"{token}{asked}"))

        def takes(name: str) -> bool:
            with self._tried(f"{token}{name}") as taken:
                return taken

        return Naming(
            ignores_case=finds("A\u00e9", "a\u00e9"),
            ignores_form=finds("A\u00e9", "Ae\u0301"),
            refused="" if takes(SUSPECTS) else "".join(one for one in SUSPECTS if not takes(one)),
            trims=not takes("x.") or finds("x.", "x"),
            longest=os.pathconf(folder, "PC_NAME_MAX"),
        )

    @contextmanager
    def _tried(self, name: str) -> Iterator[bool]:
        """Whether a file can have a name; while it is asked, it has."""
        try:
            os.close(os.open(self.uri(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno not in _NO_NAME:
                raise
            yield False
            return
        try:
            yield True
        finally:
            os.unlink(self.uri(name))

    def clear_temporary(self, is_ours: Callable[[str], bool]) -> None:
        """Drops what killed writers left in `.tmp`, known by its name there; `is_ours` is for names outside of it.

        A writer that still lives loses its write, and nothing else.
        """
        with suppress(FileNotFoundError):
            for entry in self._scan(TEMPORARY):
                if _TEMPORARY_NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        os.unlink(entry.path)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[str, BinaryIO]]:
        """A new file nobody else has, gone at the end unless it was renamed."""
        path = self._with_folder(f"{TEMPORARY}/sam-batch-{secrets.token_hex(16)}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as file:
                yield path, file
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def _with_folder(self, name: str) -> str:
        """The path of a name, whose folder then exists."""
        path = self.uri(name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except FileExistsError as error:
            # The same class as "the final name is taken", which it is not.
            raise NotADirectoryError(errno.ENOTDIR, "a file stands where a folder is needed") from error
        return path

    def _sync_folders(self, folder: str) -> None:
        """Makes the names of new files and folders durable, from a folder up to the root."""
        while len(folder) >= len(self._root.rstrip("/")):
            descriptor = os.open(folder or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sync_folder(descriptor)
            finally:
                os.close(descriptor)
            if not folder:
                return
            folder = folder.rpartition("/")[0]


class _Kind(Enum):
    FOLDER = auto()
    FILE = auto()  # or whatever else is listed: links to files under the root, and what cannot be looked at
    LINK_TO_FOLDER = auto()
    LINK_OUT = auto()


def _kind_of(entry: os.DirEntry[str], root: str) -> _Kind:
    try:
        if entry.is_dir(follow_symlinks=False):
            return _Kind.FOLDER
        if not entry.is_symlink():
            return _Kind.FILE
        if entry.is_dir():
            return _Kind.LINK_TO_FOLDER
    except OSError:  # a loop of links, or a file system that is ill; reading it will tell
        return _Kind.FILE
    return _Kind.FILE if os.path.commonpath((root, os.path.realpath(entry.path))) == root else _Kind.LINK_OUT


def _stat_of(entry: os.DirEntry[str]) -> tuple[int | None, str | None]:
    try:
        status = entry.stat()
    except OSError:
        return None, None
    return (status.st_size, str(status.st_mtime_ns)) if stat.S_ISREG(status.st_mode) else (None, None)


def _sync_folder(descriptor: int) -> None:
    """Makes a folder's names durable, as far as its file system knows such a thing; the files in it are already."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def _sync_file_system(descriptor: int) -> None:
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is not None and syncfs(descriptor) == 0:
        return
    code = ctypes.get_errno()
    if syncfs is None or code in _NOT_SYNCED:
        os.sync()
    else:
        raise OSError(code, os.strerror(code))
