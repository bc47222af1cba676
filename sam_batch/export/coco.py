"""Annotation parts to COCO instance annotations, streamed: memory holds one part, a local temporary folder the rest.

What the files say: every image that was decoded, with or without masks, under the `image_id` of the plan (from 0) and
its key as `file_name`; every mask with an id of its own, from 1 in the order of the plan, as compressed run lengths
with `iscrowd` 0, in the one category "object" (1). Besides COCO's fields a mask has segment-anything's: predicted_iou,
stability_score, point_coords and crop_box. Failed images have no size and are left out. Above a number of bytes there
are several files, each complete in itself: image and annotation ids go on from file to file.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count, groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa

from sam_batch.data.storage import Storage
from sam_batch.errors import StorageError
from sam_batch.output.schema import part_metadata
from sam_batch.records import Status

_ONE: Final = "annotations.json"
_FIRST_OF_SEVERAL: Final = "annotations-00000.json"
_CATEGORY: Final = {"id": 1, "name": "object", "supercategory": "object"}
_BETWEEN: Final = b",\n"
_Row: TypeAlias = dict[str, Any]


class _Entry(NamedTuple):
    """One image and its masks, as JSON."""

    image: bytes
    masks: list[bytes]


def write_coco(parts: Iterable[pa.Table], storage: Storage, max_bytes: int, folder: str = "coco") -> list[str]:
    """Write the annotations of all parts.

    The first file is written last: where it exists, all do.

    Args:
        parts: Annotation tables in the order of the plan; read once. The metadata of the first becomes COCO's `info`.
        storage: Where the files go.
        max_bytes: Start another file rather than exceed this; only a single image may be larger.
        folder: Of the files, in the storage.

    Returns:
        The keys written: `annotations.json`, or `annotations-00000.json` and so on, in the folder.

    Raises:
        StorageError: A file cannot be written, or scratch space for it.
        ValueError: A number is NaN or infinite, which JSON cannot say.
    """
    with _scratch_folder() as spool:
        files = _write_files(parts, spool, max_bytes)
        first = next(files)
        keys = []
        for number, path in enumerate(files, start=1):
            keys.append(f"{folder}/annotations-{number:05d}.json")
            storage.put_file(keys[-1], path)
        keys.insert(0, f"{folder}/{_FIRST_OF_SEVERAL if keys else _ONE}")
        storage.put_file(keys[0], first)
    return keys


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    try:
        with TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as error:  # the storage's own are translated already
        reason = error.strerror or error
        raise StorageError(f"cannot write COCO's scratch files: {reason}; TMPDIR may name another folder") from error


def is_complete(keys: Iterable[str]) -> bool:
    """Whether these keys of one folder hold all that `write_coco` wrote, and not what an interruption left."""
    return any(key.rpartition("/")[2] in (_ONE, _FIRST_OF_SEVERAL) for key in keys)


def _write_files(parts: Iterable[pa.Table], spool: Path, max_bytes: int) -> Iterator[Path]:
    """Yield complete COCO files, at least one. The first stays; each of the others replaces the one before."""
    info, parts = _with_info(parts)
    numbered = _numbered(_entries(parts), max_bytes - sum(map(len, _frame(info))))
    written = 0
    for written, (_, group) in enumerate(groupby(numbered, key=itemgetter(0)), start=1):
        yield _write_file(spool / ("first" if written == 1 else "other"), (entry for _, entry in group), info)
    if not written:
        yield _write_file(spool / "first", (), info)


def _with_info(parts: Iterable[pa.Table]) -> tuple[Mapping[str, str], Iterator[pa.Table]]:
    tables = iter(parts)
    head = next(tables, None)
    return ({}, tables) if head is None else (part_metadata(head), chain([head], tables))


def _write_file(path: Path, entries: Iterable[_Entry], info: Mapping[str, str]) -> Path:
    """Write masks as they come; the shorter list of images waits beside and follows."""
    opening, middle, closing = _frame(info)
    with path.open("wb") as file, TemporaryFile() as images:
        file.write(opening)
        between_images = between_masks = b""
        for entry in entries:
            images.write(between_images + entry.image)
            between_images = _BETWEEN
            for mask in entry.masks:
                file.write(between_masks + mask)
                between_masks = _BETWEEN
        images.seek(0)
        file.write(middle)
        shutil.copyfileobj(images, file)
        file.write(closing)
    return path


def _frame(info: Mapping[str, str]) -> tuple[bytes, bytes, bytes]:
    """What stands before the masks, between masks and images, and after the images."""
    rest = _json({"categories": [_CATEGORY], "licenses": [], "info": {"description": "Masks of objects", **info}})
    return b'{"annotations":[\n', b'\n],"images":[\n', b"\n]," + rest.removeprefix(b"{") + b"\n"


def _numbered(entries: Iterable[_Entry], room: int) -> Iterator[tuple[int, _Entry]]:
    """Give every entry the number of its file, with at most `room` bytes of entries in each."""
    number = filled = 0
    for entry in entries:
        size = sum(len(text) + len(_BETWEEN) for text in (entry.image, *entry.masks))
        if filled and filled + size > room:
            number, filled = number + 1, 0
        filled += size
        yield number, entry


def _entries(parts: Iterable[pa.Table]) -> Iterator[_Entry]:
    ids = count(1)
    for part in parts:
        for row in part.to_pylist():
            if row["status"] != Status.FAILED:
                masks = [_json(_mask(mask, next(ids), row)) for mask in row["masks"]]
                yield _Entry(_json(_image(row)), masks)


def _image(row: _Row) -> _Row:
    return {"id": row["image_id"], "file_name": row["key"], "width": row["width"], "height": row["height"]}


def _mask(mask: _Row, annotation_id: int, row: _Row) -> _Row:
    return {
        "id": annotation_id,
        "image_id": row["image_id"],
        "category_id": _CATEGORY["id"],
        "segmentation": {"size": [row["height"], row["width"]], "counts": mask["counts"]},
        "area": mask["area"],
        "bbox": mask["bbox"],
        "iscrowd": 0,
        **{name: mask[name] for name in ("predicted_iou", "stability_score", "point_coords", "crop_box")},
    }


def _json(value: _Row) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
