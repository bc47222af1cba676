"""Several COCO files made one: the split files of an output, those of several outputs, or anybody's.

Numbers stay as they are. Files are read three times, as streams: for what images and numbers there are, for the
annotations, for the images. Memory holds the images' names, and of each annotation its number and its image's.
Annotations are carried over with all that they say; beside them a COCO file's images, categories, licences and info.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sam_batch.config import StorageConfig
from sam_batch.data.storage import locate, open_storage, shown, some
from sam_batch.data.storage_stream import open_stream
from sam_batch.errors import ConfigError, OutputError
from sam_batch.export.coco_files import BETWEEN, as_json, scratch, scratch_folder
from sam_batch.output import claims, layout
from sam_batch.prompts.json_blocks import BLOCK, json_values

Preferred: TypeAlias = Literal["first", "last"]
_IMAGES, _ANNOTATIONS, _INFO = "images.item", "annotations.item", "info"
_LISTS: Final = ("categories", "licenses")


def merge_coco(
    sources: Sequence[str],
    destination: str,
    config: StorageConfig,
    *,
    prefer: Preferred | None = None,
    renumber: bool = False,
) -> tuple[int, int]:
    """Write one COCO file of several.

    Args:
        sources: Paths or URIs: of COCO files, or of outputs, which stand for what they hold in `coco/`.
        destination: Path or URI of the new file.
        config: How stores are reached.
        prefer: Of an image that several sources have, by its `file_name`, the source whose it is, with its masks; None
            has it refused.
        renumber: Whether a source whose numbers others before it have too gets new ones, above all of theirs; without,
            it is refused.

    Returns:
        How many images and annotations the file has.

    Raises:
        ConfigError: Something is no COCO file, or the sources do not go together; says which and why.
        OutputError: The destination is there already.
        StorageError: A file cannot be read or written.
    """
    folder, slash, name = destination.rpartition("/")
    target = open_storage(folder or slash or ".", config)
    if target.exists(name):
        raise OutputError(f"{shown(destination)}: is there already; name another file")
    read = [_looked_through(source, config) for source in sources]
    _choose(read, prefer)
    _separate(read, renumber=renumber)
    rest = {one: _united(read, one) for one in _LISTS} | {_INFO: _agreed([source.info for source in read])}
    with scratch_folder() as spool:
        path = spool / "merged.json"
        with scratch(), path.open("wb") as file:
            file.write(b'{"annotations":[\n')
            annotations = _write(file, _taken(read, config, _ANNOTATIONS))
            file.write(b'\n],"images":[\n')
            images = _write(file, _taken(read, config, _IMAGES))
            file.write(b"\n]," + as_json(rest).removeprefix(b"{") + b"\n")
        target.put_file(name, path)
    return images, annotations


@dataclass
class _Source:
    """What is in the files of one source.

    Attributes:
        name: As it was given.
        uris: Of its files.
        image_ids: Of its images.
        names: Likewise, their `file_name`.
        annotation_ids: Of its annotations.
        owner_ids: Likewise, their images.
        lists: Its categories and licences.
        info: What it says of itself.
        dropped: Images that another source has too, and that are taken from there.
        shifts: What is added to the numbers of images, and to those of annotations.
    """

    name: str
    uris: list[str]
    image_ids: "array[int]" = field(default_factory=partial(array, "q"))
    names: list[str] = field(default_factory=list)
    annotation_ids: "array[int]" = field(default_factory=partial(array, "q"))
    owner_ids: "array[int]" = field(default_factory=partial(array, "q"))
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in _LISTS})
    info: dict[str, Any] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    shifts: tuple[int, int] = (0, 0)

    def add(self, prefix: str, value: Any) -> None:
        """Take in what stands in a file."""
        try:
            if prefix == _IMAGES:
                self.image_ids.append(value["id"])
                self.names.append(str(value["file_name"]))
            elif prefix == _ANNOTATIONS:
                self.annotation_ids.append(value["id"])
                self.owner_ids.append(value["image_id"])
            elif prefix == _INFO:
                self.info = value if not self.info else _agreed([self.info, value])
            else:
                self.lists[prefix.removesuffix(".item")].append(value)
        except (KeyError, TypeError, OverflowError) as error:
            what = prefix.removesuffix("s.item")
            wanted = "file_name" if prefix == _IMAGES else "image_id"
            raise ConfigError(
                f"{shown(self.name)}: an {what} without {wanted}, or without a whole number as id: {error}"
            ) from None

    def taken(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The numbers of images and annotations that go into the new file, as they are here."""
        dropped = np.fromiter(self.dropped, np.int64)
        images, owners = np.array(self.image_ids, np.int64), np.array(self.owner_ids, np.int64)
        annotations = np.array(self.annotation_ids, np.int64)
        return images[~np.isin(images, dropped)], annotations[~np.isin(owners, dropped)]


def _looked_through(name: str, config: StorageConfig) -> _Source:
    source = _Source(name, _files(name, config))
    prefixes = [_IMAGES, _ANNOTATIONS, _INFO, *(f"{one}.item" for one in _LISTS)]
    for prefix, value in _values(source, config, prefixes):
        source.add(prefix, value)
    for kind, numbers in (("image", source.image_ids), ("annotation", source.annotation_ids)):
        values, counts = np.unique(np.array(numbers, np.int64), return_counts=True)
        if (counts > 1).any():
            raise ConfigError(f"{shown(name)}: the number {values[counts > 1][0]} stands at more than one {kind}")
    lost = np.setdiff1d(np.array(source.owner_ids, np.int64), np.array(source.image_ids, np.int64))
    if len(lost):
        raise ConfigError(f"{shown(name)}: has annotations of the image {lost[0]}, and no such image")
    return source


def _files(source: str, config: StorageConfig) -> list[str]:
    """The URIs of a source's files."""
    storage = open_storage(source, config)
    if not storage.is_folder():
        return [locate(source, config).uri]
    entries = [
        entry
        for entry in storage.list(layout.COCO, recursive=False)
        if layout.EXPORTS[layout.COCO].fixed.fullmatch(entry.key)
    ]
    receipt = claims.read(storage, layout.COCO)
    if not entries or (receipt is not None and not receipt["complete"]):
        raise ConfigError(f"{shown(source)}: has no whole COCO; `sam-batch export {shown(source)} --to coco` writes it")
    return [entry.uri for entry in sorted(entries, key=lambda entry: entry.key)]


def _values(source: _Source, config: StorageConfig, prefixes: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for uri in source.uris:
        with open_stream(uri, config) as file:
            if not file.peek(64)[:64].lstrip().startswith(b"{"):  # a list of results, say, in which nothing were found
                raise ConfigError(f"{shown(uri)}: is no COCO data set, which begins with {{")
            yield from json_values(iter(partial(file.read, BLOCK), b""), prefixes, shown(uri))


def _choose(sources: Sequence[_Source], prefer: Preferred | None) -> None:
    """Leave each image to one source."""
    owners: dict[str, tuple[_Source, int]] = {}
    doubled = []
    for source in sources:
        for image_id, name in zip(source.image_ids, source.names, strict=True):
            other, other_id = owners.setdefault(name, (source, image_id))
            if other is source and other_id == image_id:
                continue
            if other is source:
                raise ConfigError(f"{shown(source.name)}: has the image {shown(name)} twice")
            doubled.append(name)
            if prefer == "last":
                owners[name] = source, image_id
                other.dropped.add(other_id)
            else:
                source.dropped.add(image_id)
    if doubled and prefer is None:
        raise ConfigError(f"several of the sources have {some(doubled)}; --prefer first or last takes one of each")


def _separate(sources: Sequence[_Source], *, renumber: bool) -> None:
    """Give new numbers to sources whose numbers others have."""
    before = np.empty(0, np.int64), np.empty(0, np.int64)
    for source in sources:
        taken = source.taken()
        if any(len(np.intersect1d(one, other)) for one, other in zip(taken, before, strict=True)):
            if not renumber:
                raise ConfigError(
                    f"{shown(source.name)}: has numbers of images or annotations that sources before it have too; "
                    "--renumber gives it others, above all of theirs"
                )
            image_shift, annotation_shift = map(_above, taken, before)
            source.shifts = image_shift, annotation_shift
            taken = taken[0] + image_shift, taken[1] + annotation_shift
        before = np.concatenate([before[0], taken[0]]), np.concatenate([before[1], taken[1]])


def _above(taken: NDArray[np.int64], before: NDArray[np.int64]) -> int:
    """What moves numbers above others."""
    return int(before.max()) + 1 - int(taken.min()) if len(before) and len(taken) else 0


def _united(sources: Sequence[_Source], name: str) -> list[dict[str, Any]]:
    """The categories or licences of all, each once.

    Raises:
        ConfigError: One number is of two.
    """
    united: dict[Any, dict[str, Any]] = {}
    for source in sources:
        for one in source.lists[name]:
            known = united.setdefault(one.get("id"), one)
            if known != one:
                raise ConfigError(f"{shown(source.name)}: {name} {one}, and a source before it has {known}")
    return list(united.values())


def _agreed(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all say alike."""
    first = told[0] if told else {}
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in told)}


def _taken(sources: Iterable[_Source], config: StorageConfig, prefix: str) -> Iterator[dict[str, Any]]:
    """Images or annotations as the new file has them."""
    for source in sources:
        image_shift, annotation_shift = source.shifts
        for _, value in _values(source, config, [prefix]):
            if prefix == _IMAGES and value["id"] not in source.dropped:
                yield {**value, "id": value["id"] + image_shift}
            elif prefix == _ANNOTATIONS and value["image_id"] not in source.dropped:
                ids = {"id": value["id"] + annotation_shift, "image_id": value["image_id"] + image_shift}
                yield {**value, **ids}


def _write(file: BinaryIO, values: Iterable[dict[str, Any]]) -> int:
    """One a line; returns how many."""
    count = 0
    for value in values:
        file.write(BETWEEN * bool(count) + as_json(value))
        count += 1
    return count
