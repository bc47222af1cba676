"""The input as a sorted list of images: what is there, before anything is read.

An input is a folder, a glob, a prefix in a bucket, one image, a manifest, or several of these. A name that exists is
never taken for a glob. In folders, globs and prefixes only the configured extensions count, and names that start with
a dot, and everything below them, are left out. Whether a file is an image is found out later, by `pixels`.

A key is the image's name in all outputs: the path below the folder, the fixed part of the glob, the prefix, or the
longest common folder of a manifest. Several inputs are told apart by their base name, put before their keys.
"""

import fnmatch
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data import manifest
from sam_batch.data.storage import Entry, lies_under, locate, open_storage, read_uri, shown, stat_uri
from sam_batch.errors import ConfigError, InputError, NotFoundError, StorageError

_MAGIC = re.compile(r"[*?[]")
_MANIFEST_BYTES = 1 << 30
_HIDDEN, _NO_EXTENSION = "(hidden)", "(none)"
_PartMatch: TypeAlias = Callable[[str], re.Match[str] | None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    """One input.

    Attributes:
        label: Put before its keys where there are several inputs; empty where the keys are the user's own.
        images: With keys below the input's root.
        passed_over: Files that were not images by their extension, counted by it.
    """

    label: str
    images: Iterable[Entry]
    passed_over: Counter[str]


def list_images(config: InputConfig, storage: StorageConfig, output: str | None = None) -> list[Entry]:
    """The images of the input, each once, sorted by key in code-point order.

    Args:
        config: What to list.
        storage: How object stores are reached.
        output: Where results go, which must not be where images are looked for.

    Raises:
        InputError: Something named does not exist or may not be listed, two images have one key, the output lies in
            the input, or there are no images.
    """
    try:
        sources = [_source(uri, config, storage, output) for uri in config.uris]
        _check_labels(sources)
        images = _merged(_labelled(source, len(sources)) for source in sources)
    except (StorageError, ConfigError) as error:
        raise error if isinstance(error, InputError) else InputError(f"input.uri: {error}") from error
    if not images:
        raise InputError(_nothing_found(config, sources))
    return sorted(images, key=lambda image: image.key)[: config.limit]


def _source(uri: str, config: InputConfig, storage: StorageConfig, output: str | None) -> _Source:
    """What a URI names: first what exists under exactly this name, then what a glob matches."""
    if not uri.endswith("/"):
        try:
            return _file(stat_uri(uri, storage), storage)
        except NotFoundError:
            pass  # it may be a folder
    if open_storage(uri, storage).is_folder():
        return _folder(uri, "", config.recursive, config, storage, output)
    root, pattern = _split_glob(uri)
    if not pattern:
        raise InputError(f"input.uri: {shown(uri)} does not exist (looked for {shown(locate(uri, storage).uri)})")
    if not open_storage(root, storage).is_folder():
        raise InputError(f"input.uri: {shown(uri)} matches nothing, as the folder {shown(root)} does not exist")
    return _folder(root, pattern, "/" in pattern or pattern == "**", config, storage, output)


def _file(entry: Entry, storage: StorageConfig) -> _Source:
    name = entry.key.rpartition("/")[2]
    if not manifest.is_manifest(entry.uri):
        return _Source("", [replace(entry, key=name)], Counter())
    folder = entry.uri.rpartition("/")[0]
    given, unnamed = [], []
    for line, uri, key in manifest.parse(entry.uri, read_uri(entry.uri, storage, _MANIFEST_BYTES)):
        image = _locate_row(f"{shown(entry.uri)}, row {line}", uri, folder, storage)
        if key is None:
            unnamed.append(image)
        else:
            given.append(replace(image, key=key))
    common = len(_common_folder(image.key for image in unnamed))
    label = "" if given else name.rpartition(".")[0]
    return _Source(label, [*given, *(replace(image, key=image.key[common:]) for image in unnamed)], Counter())


def _locate_row(row: str, uri: str, folder: str, storage: StorageConfig) -> Entry:
    absolute = uri.startswith(("/", "~/")) or "://" in uri
    try:
        return locate(uri if absolute else f"{folder}/{uri}", storage)
    except ConfigError as error:
        raise InputError(f"input.uri: {row}: {error}") from error


def _common_folder(keys: Iterable[str]) -> str:
    """The longest folder all keys lie in, with its slash, or nothing."""
    common: str | None = None
    for key in keys:
        folder = key[: key.rfind("/") + 1]
        common = folder if common is None else common
        while not folder.startswith(common):
            common = common[: common.rfind("/", 0, -1) + 1]
    return common or ""


def _folder(
    root: str, pattern: str, recursive: bool, config: InputConfig, storage: StorageConfig, output: str | None
) -> _Source:
    """Everything below a root that has a wanted extension and matches the pattern, if there is one."""
    if output is not None and _would_be_listed(output, root, recursive, storage):
        raise InputError(
            f"input.uri: the output {shown(output)} lies in the input {shown(root)}, so its pictures would be taken "
            "for images by the next run; choose an output.uri outside of it"
        )
    wanted = _compiled(pattern or "**")
    passed_over: Counter[str] = Counter()
    images = []
    place = open_storage(root, storage)
    for entry in place.list(recursive=recursive):
        extension = _HIDDEN if _is_hidden(entry.key) else _extension(entry.key)
        if not _matches(entry.key.split("/"), wanted):
            continue
        if extension in config.extensions:
            images.append(entry)
        else:
            passed_over[extension] += 1
    if passed_over:
        _log.info("%s: passed over %d hidden files or files with other extensions", root, passed_over.total())
    return _Source(place.root.rpartition("/")[2], images, passed_over)


def _would_be_listed(output: str, root: str, recursive: bool, storage: StorageConfig) -> bool:
    return lies_under(output, root, storage) and (recursive or lies_under(root, output, storage))


def _is_hidden(key: str) -> bool:
    # ".." and "." as parts of a bucket's key are odd, not hidden.
    return "/." in f"/{key}" and any(part.startswith(".") and part.strip(".") for part in key.split("/"))


def _extension(key: str) -> str:
    _, dot, extension = key.rpartition("/")[2].rpartition(".")
    return extension.lower() if dot else _NO_EXTENSION


def _split_glob(uri: str) -> tuple[str, str]:
    """The folder before the first part with `*`, `?` or `[`, and the rest; nothing is left for a plain name."""
    match = _MAGIC.search(uri)
    if match is None:
        return uri, ""
    cut = uri.rfind("/", 0, match.start()) + 1
    return uri[:cut] or ".", uri[cut:]


def _compiled(pattern: str) -> list[_PartMatch | None]:
    """A glob, part by part; None stands for `**`, any number of folders."""
    parts = (part for part, _ in groupby(pattern.split("/")))  # "**/**" is "**", and costs less
    return [None if part == "**" else re.compile(fnmatch.translate(part)).match for part in parts]


def _matches(parts: list[str], pattern: list[_PartMatch | None]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] is None:
        return _matches(parts, pattern[1:]) or (bool(parts) and _matches(parts[1:], pattern))
    return bool(parts) and pattern[0](parts[0]) is not None and _matches(parts[1:], pattern[1:])


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


def _merged(sources: Iterable[Iterable[Entry]]) -> list[Entry]:
    """Every URI once, under the first key it was found by; two URIs with one key are refused."""
    by_key: dict[str, Entry] = {}
    seen: set[str] = set()
    for source in sources:
        for image in source:
            if image.uri in seen:
                continue
            seen.add(image.uri)
            other = by_key.setdefault(image.key, image)
            if other is not image:
                raise InputError(
                    f"input.uri: {shown(other.uri)} and {shown(image.uri)} would both be named {shown(image.key)} in "
                    "the output; rename one, or list them in a manifest with a column key"
                )
    return list(by_key.values())


def _nothing_found(config: InputConfig, sources: list[_Source]) -> str:
    passed_over = sum((source.passed_over for source in sources), Counter[str]())
    message = f"input.uri: no images in {', '.join(map(shown, config.uris))}: looked for {', '.join(config.extensions)}"
    if not config.recursive:
        message += " without sub-folders (input.recursive)"
    if passed_over:
        common = ", ".join(f"{count} {shown(name)}" for name, count in passed_over.most_common(3))
        message += f"; there are {passed_over.total()} other files ({common}), see input.extensions"
    return message
