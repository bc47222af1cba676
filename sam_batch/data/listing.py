"""The input as a sorted list of images: what is there, before anything is read.

An input is a folder, a glob, a prefix in a bucket, one image, a manifest, tar archives, or several of these. A name
that exists is never taken for a glob. Which files of a folder are taken, `selection` decides. Whether a file is an
image is found out later, by `pixels`.

A key is the image's name in all outputs: the path below the folder, the fixed part of the glob, the prefix, or the
longest common folder of a manifest; of an archive, its name before that of the member. Several inputs are told apart
by their base name, put before their keys; but not before those of the one that a job began with, which keep their keys.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data import globs, manifest, tar
from sam_batch.data.entries import Entries, gathered
from sam_batch.data.lookup import Absent, look_up
from sam_batch.data.readers import formats
from sam_batch.data.selection import LeftOut, Selection, extension_of
from sam_batch.data.storage import (
    Entry,
    Storage,
    escape_undecodable,
    lies_under,
    locate,
    open_storage,
    read_range,
    read_uri,
    shown,
    some,
    stat_uri,
)
from sam_batch.data.storage_kinds import is_local, refuse_read_only
from sam_batch.errors import ConfigError, ImageError, InputError, NotFoundError, PermissionDeniedError, StorageError
from sam_batch.wording import counted

_HEAD_BYTES = 512
_COMPRESSED_TAR = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_COMPRESSED_HINT = "of a compressed archive no member can be read alone: unpack it to a plain .tar"
_ARCHIVES_AT_ONCE = 8
_LOCAL_BLOCK, _REMOTE_BLOCK = 1 << 14, 4 << 20  # a request costs as much as megabytes
_LOOKED_UP = 1 << 18  # images of a list at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What an input gives.

    Attributes:
        images: Each once, sorted by key in code-point order.
        left_out: What else lies there.
    """

    images: Entries
    left_out: LeftOut

    def to_dict(self) -> dict[str, Any]:
        """For `summary.json`."""
        return {"images": len(self.images), "left_out": self.left_out.to_dict()}

    def __str__(self) -> str:
        """One line: what is taken, and what is not."""
        left_out = str(self.left_out)
        return f"input: {_with_size(self.images)}" + (f"; left out: {left_out}" if left_out else "")


def _with_size(images: Entries) -> str:
    count = counted(len(images), "image")
    size, known = images.bytes_known()
    if not known:
        return count
    least = "" if known == len(images) else "at least "
    return f"{count}, {least}{size / 1e6:,.1f} MB"


@dataclass(frozen=True, slots=True)
class _Source:
    """One input.

    Attributes:
        label: Put before its keys where there are several inputs; empty where the keys are the user's own.
        images: With keys below the input's root.
    """

    label: str
    images: Iterable[Entry]


def list_images(
    config: InputConfig,
    storage: StorageConfig,
    output: str | None = None,
    unlabelled: str | None = None,
    progress: Callable[[int], None] = lambda found: None,
) -> Listing:
    """The images of the input.

    Args:
        config: What to list.
        storage: How object stores are reached.
        output: Where results go, which must not be where images are looked for.
        unlabelled: One of several inputs, as `config.uris` has it, whose keys begin with no base name.
        progress: Told from time to time how many images were found.

    Raises:
        InputError: Something named does not exist or may not be listed, two images have one key, the output lies in
            the input or the input in the output, or there are no images.
        ConfigError: The output is no place this program writes to.
    """
    if output is not None:
        try:
            refuse_read_only(open_storage(output, storage).root)
        except ConfigError as error:  # no fault of the input
            raise type(error)(f"output.uri: {error}") from error
    finder = _Finder(config, storage, output)
    try:
        sources = [finder.source(uri) for uri in config.uris]
        sources = [
            replace(source, label="") if uri == unlabelled else source
            for uri, source in zip(config.uris, sources, strict=True)
        ]
        _check_labels(sources)
        images = gathered(chain.from_iterable(_labelled(source, len(sources)) for source in sources), progress)
    except (StorageError, ConfigError) as error:
        raise error if isinstance(error, InputError) else InputError(f"input.uri: {error}") from error
    if not images:
        raise InputError(finder.nothing_found())
    if unreadable := finder.left_out.unreadable:
        _log.warning("input.uri: passed over what could not be read: %s", some(unreadable))
    taken = images[: config.limit]
    finder.left_out.beyond_limit = len(images) - len(taken)
    return Listing(taken, finder.left_out)


class _Finder:
    """Finds the images of one input after the other, and counts what it passes over."""

    def __init__(self, config: InputConfig, storage: StorageConfig, output: str | None) -> None:
        self.left_out = LeftOut()
        self._config = config
        self._storage = storage
        self._output = output
        self._matched_folders: list[str] = []

    def source(self, uri: str) -> _Source:
        """What a URI names: first what exists under exactly this name, then what a glob matches."""
        if not uri.endswith("/"):
            try:
                return self._file(stat_uri(uri, self._storage))
            except NotFoundError:
                pass  # it may be a folder
        if open_storage(uri, self._storage).is_folder():
            return self._folder(uri, "")
        root, pattern = globs.split(uri)
        if not pattern:
            raise InputError(f"input.uri: {self._absent(uri)}")
        if not open_storage(root, self._storage).is_folder():
            raise InputError(f"input.uri: {shown(uri)} matches nothing, as the folder {shown(root)} does not exist")
        return self._folder(root, pattern)

    def _absent(self, uri: str) -> str:
        hint = "; several inputs are written [one,other]" if "," in uri else ""
        return f"{shown(uri)} does not exist (looked for {shown(locate(uri, self._storage).uri)}){hint}"

    def _file(self, entry: Entry) -> _Source:
        self._refuse_inside_output([entry.uri])
        name = entry.key.rpartition("/")[2]
        if manifest.is_manifest(entry.uri):
            return self._manifest(entry, name)
        if extension_of(name) == "tar":
            selection = Selection(self._config, self.left_out, entry.uri)
            return _Source("", self._members([replace(entry, key=name)], selection, alone=True))
        if extension_of(name) not in self._config.extensions:
            self._refuse_no_image(entry)
        return _Source("", [replace(entry, key=name)])

    def _refuse_no_image(self, entry: Entry) -> None:
        """Raise InputError if a file that is not even called an image is none, by its first bytes."""
        head = read_range(entry.uri, self._storage, 0, min(_HEAD_BYTES, entry.size or 0)) if entry.size else b""
        try:
            formats.format_of(head)
        except ImageError as error:
            kinds = f"an image, a list of images ({', '.join(manifest.EXTENSIONS)}) or a plain .tar of images"
            hint = _COMPRESSED_HINT if _COMPRESSED_TAR.search(entry.uri) else f"a file is {kinds}"
            raise InputError(f"input.uri: {shown(entry.uri)}: {error}; {hint}") from error

    def _manifest(self, entry: Entry, name: str) -> _Source:
        folder = entry.uri.rpartition("/")[0]
        given, unnamed, common = list[Entries](), list[Entries](), None
        absent = Absent(entry.uri)
        located = self._located(entry, folder)
        while rows := list(islice(located, _LOOKED_UP)):
            self._refuse_inside_output({image.uri.rpartition("/")[0] or "/" for _, image in rows})
            images = absent.passed(look_up([image for _, image in rows], self._storage), rows)
            named = [has_key for has_key, _ in rows]
            given.append(Entries.of(image for image, has_key in zip(images, named, strict=True) if has_key))
            unnamed.append(Entries.of(image for image, has_key in zip(images, named, strict=True) if not has_key))
            common = _common_folder(unnamed[-1].table.texts("key"), common)
        absent.judge()
        cut = len(common or "")
        label = "" if any(given) else name.rpartition(".")[0]
        bare = (Entry(one.key[cut:], one.uri, one.size, one.modified) for one in chain.from_iterable(unnamed))
        return _Source(label, chain(chain.from_iterable(given), bare))

    def _located(self, entry: Entry, folder: str) -> Iterator[tuple[bool, Entry]]:
        """The images that a manifest lists, each with whether its key is given.

        Raises:
            InputError: Some rows are wrong: after all of them.
        """
        mistakes = []
        for row in manifest.parse(entry.uri, self._read(entry)):
            try:
                image = row.key is not None, self._row(row, folder)
            except ConfigError as error:
                mistakes.append(f"row {row.line}: {error}")
                continue
            if not mistakes:
                yield image
        if mistakes:
            raise InputError(f"input.uri: {shown(entry.uri)}: {len(mistakes)} rows are wrong: {some(mistakes, '; ')}")

    def _read(self, entry: Entry) -> bytes:
        try:
            return read_uri(entry.uri, self._storage, manifest.MAX_BYTES)
        except ImageError as error:
            raise InputError(f"input.uri: {error}") from error

    def _row(self, row: manifest.Row, folder: str) -> Entry:
        if row.mistake:
            raise InputError(row.mistake)
        absolute = row.uri.startswith(("/", "~/")) or "://" in row.uri
        image = locate(row.uri if absolute else f"{folder}/{row.uri}", self._storage)
        return image if row.key is None else replace(image, key=row.key)

    def _folder(self, root: str, pattern: str) -> _Source:
        """Everything below a root that is selected, and matches the pattern if there is one."""
        place = open_storage(root, self._storage)
        selection = Selection(self._config, self.left_out, place.root, pattern, self._refuse_overlap)
        self._refuse_overlap(root, selection.recursive)
        return _Source(place.root.rpartition("/")[2], self._selected(place, selection, root, pattern))

    def _selected(self, place: Storage, selection: Selection, root: str, pattern: str) -> Iterator[Entry]:
        archives = []
        absent = set(selection.globs.names)
        for entry in place.find(selection):
            absent.discard(entry.key)
            if selection.opens(entry.key):
                archives.append(entry)
            elif selection.takes(entry.key):
                yield entry
        yield from self._members(archives, selection, alone=False)
        self._matched_folders += selection.matched_folders
        absent.difference_update(selection.matched_folders)
        if absent:
            raise InputError(f"input.uri: {shown(root)} lacks what {shown(pattern)} names: {some(sorted(absent))}")

    def _members(self, archives: Sequence[Entry], selection: Selection, *, alone: bool) -> Iterator[Entry]:
        """The images in tar archives, by keys below the archives' names.

        What cannot be read of an archive is passed over with a warning, unless the archive is all that was named.
        """
        with ThreadPoolExecutor(_ARCHIVES_AT_ONCE) as pool:
            for archive, (found, fault) in zip(archives, pool.map(self._index, archives), strict=True):
                if fault and alone:
                    raise InputError(f"input.uri: {shown(archive.uri)}: {fault}")
                if fault:
                    self.left_out.unreadable.append(f"{shown(archive.uri)}: {fault}")
                names = selection.inside(archive.uri)
                for member in found:
                    if names.takes_member(member):
                        uri = tar.member_uri(archive.uri, escape_undecodable(member.name), member.offset, member.size)
                        key = f"{archive.key[: -len('.tar')]}/{escape_undecodable(member.name)}"
                        yield Entry(key, uri, member.size, archive.modified)

    def _index(self, archive: Entry) -> tuple[list[tar.Member], str]:
        """The members of an archive, of several with one name the last; and why they are not all, if so."""
        found: dict[str, tar.Member] = {}
        block = _LOCAL_BLOCK if is_local(archive.uri) else _REMOTE_BLOCK
        try:
            for member in tar.members(partial(read_range, archive.uri, self._storage), archive.size or 0, block):
                found[member.name] = member
        except (tar.DamagedTarError, StorageError) as error:
            if isinstance(error, StorageError) and not _is_about_one_file(error, archive):
                raise
            return list(found.values()), str(error)
        return list(found.values()), ""

    def _refuse_overlap(self, root: str, recursive: bool = True) -> None:
        """Raise InputError if results go where images are looked for, or the other way round."""
        output = self._output
        if output is None:
            return
        if lies_under(output, root, self._storage) and (recursive or lies_under(root, output, self._storage)):
            raise InputError(
                f"input.uri: the output {shown(output)} lies in the input {shown(root)}, so its pictures would be "
                "taken for images by the next run; choose an output.uri outside of it"
            )
        self._refuse_inside_output([root])

    def _refuse_inside_output(self, places: Iterable[str]) -> None:
        output = self._output
        for place in places:
            if output is not None and lies_under(place, output, self._storage):
                raise InputError(
                    f"input.uri: the input {shown(place)} lies in the output {shown(output)}, where only results "
                    "belong; choose an output.uri outside of it, such as a new folder beside the input"
                )

    def nothing_found(self) -> str:
        """Why there are no images, as far as the listing saw."""
        wanted = ", ".join(extension or '""' for extension in self._config.extensions)
        message = f"input.uri: no images in {', '.join(map(shown, self._config.uris))}: looked for {wanted}"
        if left_out := str(self.left_out):
            message += f"; left out: {left_out}"
        if any(map(_COMPRESSED_TAR.search, self._config.uris)):
            message += f"; {_COMPRESSED_HINT}"
        if self.left_out.by_extension["parquet"]:
            message += f"; {manifest.PICTURES_INSIDE}"
        if self._matched_folders:
            message += f"; globs take files alone, add /** for what lies in {some(self._matched_folders)}"
        return message


def _is_about_one_file(error: StorageError, archive: Entry) -> bool:
    """Whether a failed read says nothing of the others: a bucket that stays away does, a bad sector does not."""
    return is_local(archive.uri) or isinstance(error, NotFoundError | PermissionDeniedError)


def _common_folder(keys: Iterable[str], common: str | None = None) -> str | None:
    """The longest folder all keys lie in, with its slash, or nothing; None where there are no keys.

    Args:
        keys: As they are.
        common: Of keys that came before.
    """
    for key in keys:
        folder = key[: key.rfind("/") + 1]
        common = folder if common is None else common
        while not folder.startswith(common):
            common = common[: common.rfind("/", 0, -1) + 1]
    return common


def _check_labels(sources: list[_Source]) -> None:
    counts = Counter(source.label for source in sources if source.label)
    for label, count in counts.items():
        if count > 1:
            raise InputError(
                f"input.uri: {count} inputs have the base name {shown(label)}, so their images could not be told "
                "apart; rename one, or list the images in a manifest with a column key"
            )


def _labelled(source: _Source, source_count: int) -> Iterator[Entry]:
    prefix = f"{source.label}/" if source.label and source_count > 1 else ""
    for image in source.images:
        key = _portable(prefix + image.key)
        yield image if key == image.key else replace(image, key=key)


def _portable(key: str) -> str:
    """The key as a relative path below any folder: `.`, `..` and empty parts, which only buckets have, are escaped."""
    if "\0" not in key and {"", ".", ".."}.isdisjoint(parts := key.split("/")):
        return key
    parts = [part.replace(".", "%2E") if not part.strip(".") else part for part in key.split("/")]
    return "/".join(part or "%2F" for part in parts).replace("\0", "%00")
