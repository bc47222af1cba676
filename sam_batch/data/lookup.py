"""Sizes and times of images that a list names: looked up, where no listing of a folder tells them.

It costs a system call for a local file. On S3 and on the Hugging Face Hub a folder is listed where several of its
objects are named, since one request tells a thousand; other objects cost a request each. Nothing is read.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain, islice

from sam_batch.config import StorageConfig
from sam_batch.data import tar
from sam_batch.data.storage import NAMED, Entry, open_storage, shown, some, stat_uri
from sam_batch.data.storage_kinds import is_local
from sam_batch.errors import InputError, NotFoundError, PermissionDeniedError, StorageError

_AT_ONCE = 32
_BATCH = 64  # local files
_FEW = 3  # objects of a folder, which are asked for one by one
_PAGED, _PAGE = ("s3://", "hf://"), 1000  # stores that tell so many objects by one request, and of one folder alone
_log = logging.getLogger(__name__)


class Absent:
    """The images that a list names and that are not there; one that lacks stays, for a worker to tell.

    Sizes and times, by which the next run sees that an image was replaced, are looked up where no listing tells them.
    """

    def __init__(self, manifest: str) -> None:
        self._manifest, self._names = shown(manifest), list[str]()
        self._count = self._images = 0

    def passed(self, known: Sequence[Entry | None], listed: Sequence[tuple[bool, Entry]]) -> list[Entry]:
        """What was looked up, and what was listed in the place of what is not there."""
        absent = [shown(image.uri) for told, (_, image) in zip(known, listed, strict=True) if told is None]
        self._names += absent[: NAMED - len(self._names)] if len(self._names) < NAMED else []
        self._count, self._images = self._count + len(absent), self._images + len(known)
        return [told or image for told, (_, image) in zip(known, listed, strict=True)]

    def judge(self) -> None:
        """Warn of some; refuse a list of which nothing is there."""
        if not self._count:
            return
        names = some(self._names, count=self._count)
        if self._count == self._images:
            raise InputError(
                f"input.uri: {self._manifest}: none of the {self._images} images that it lists is there: {names}; "
                "a row is a path, from the list's own folder on"
            )
        _log.warning("input.uri: %s: %d of its images are not there: %s", self._manifest, self._count, names)


def look_up(entries: Sequence[Entry], config: StorageConfig) -> list[Entry | None]:
    """The same entries with sizes and times; None for those that are not there, as they were where it cannot be told.

    A member of an archive has the archive's time.

    Raises:
        StorageError: A bucket does not answer.
    """
    files = {_file_of(entry.uri) for entry in entries}
    local = sorted(file for file in files if is_local(file))
    objects = defaultdict[str, list[str]](list)
    for file in sorted(file for file in files if not is_local(file)):
        objects[file.rpartition("/")[0]].append(file)
    batches = [local[start : start + _BATCH] for start in range(0, len(local), _BATCH)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        one_by_one = pool.map(partial(_each, config=config), batches)
        by_folder = pool.map(partial(_in_folder, config=config), objects, objects.values())
        known = dict(chain.from_iterable(chain(one_by_one, by_folder)))
    return [_told(entry, known[_file_of(entry.uri)]) for entry in entries]


def _file_of(uri: str) -> str:
    """The archive where an image lies in one."""
    in_archive = tar.split_uri(uri)
    return in_archive[0] if in_archive else uri


def _told(entry: Entry, file: Entry | None) -> Entry | None:
    if file is None:
        return None
    size = file.size if entry.size is None else entry.size  # a member's is in its URI
    return Entry(entry.key, entry.uri, size, file.modified)


def _each(files: Iterable[str], config: StorageConfig) -> list[tuple[str, Entry | None]]:
    return [(file, _stat(file, config)) for file in files]


def _stat(file: str, config: StorageConfig) -> Entry | None:
    try:
        return stat_uri(file, config)
    except NotFoundError:
        return None
    except StorageError as error:
        if is_local(file) or isinstance(error, PermissionDeniedError):
            return Entry("", file)  # reading it will tell
        raise


def _in_folder(folder: str, files: Sequence[str], config: StorageConfig) -> list[tuple[str, Entry | None]]:
    """Of objects whose URIs begin alike; a folder that holds too many others, or may not be listed, is not listed."""
    wanted, found = set(files), dict[str, Entry]()
    is_told = False
    if len(files) > _FEW and folder.startswith(_PAGED):
        with suppress(PermissionDeniedError):
            is_told = _list_into(found, wanted, open_storage(folder, config).list(recursive=False))
    rest = sorted(wanted - found.keys())
    return [*found.items(), *(((file, None) for file in rest) if is_told else _each(rest, config))]


def _list_into(found: dict[str, Entry], wanted: set[str], listed: Iterator[Entry]) -> bool:
    """Keep what is wanted; whether what is not found then is not there."""
    for entry in islice(listed, _PAGE * len(wanted)):
        if entry.uri in wanted:
            found[entry.uri] = entry
        if len(found) == len(wanted):
            return True
    return next(listed, None) is None
