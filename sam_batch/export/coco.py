"""Annotation parts to COCO instance annotations, streamed: memory holds one part, a local temporary folder the rest.

What the files say: every image that was decoded, with or without masks, under the `image_id` of the plan (from 0) and
its key as `file_name`; every mask with an id of its own (`export.numbers`), with `iscrowd` 0, in the one category
"object" (1). Where masks were made from prompts, ids and categories are those of the prompts' source, and what
it says besides of an object stands beside its mask (`export.numbers`). Besides COCO's fields a mask has
segment-anything's: predicted_iou, stability_score, point_coords and crop_box; and the two scores under the names that
readers look for: `score`, and in `attributes`. Failed images have no size and are left out. Above a number of bytes
there are several files, each complete in itself, with ids that are unique over all.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa

from sam_batch.config_output import CocoConfig, OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import StorageError
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.masks.polygons import edge_polygons, run_lengths_of
from sam_batch.output.layout import COCO
from sam_batch.output.plan import Plan
from sam_batch.output.schema import part_metadata

ONE: Final = f"{COCO}/annotations.json"
FIRST_OF_SEVERAL: Final = f"{COCO}/annotations-00000.json"
_BETWEEN: Final = b",\n"
_Row: TypeAlias = dict[str, Any]
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # `dumps` makes one a call, which is dear
_NUMBERS: Final = ("predicted_iou", "stability_score", "bbox", "crop_box")
_WRITTEN: Final = {
    *("id", "image_id", "category_id", "segmentation", "area", "iscrowd", "point_coords", "prompt_id", "prompt_box"),
    *_NUMBERS,
}


class _Entry(NamedTuple):
    """One image and its masks, as JSON."""

    image: bytes
    masks: list[bytes]


@contextmanager
def open_coco(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["CocoExport"]:
    """Start the COCO files of an output; see `formats.Export`."""
    with _scratch():
        spool = TemporaryDirectory()
    with spool as folder:
        export = CocoExport(storage, config.coco, Path(folder), Numbers(plan))
        try:
            yield export
        finally:
            export.close()


@contextmanager
def _scratch() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # the storage's own are translated already
        reason = error.strerror or error
        raise StorageError(f"cannot write COCO's scratch files: {reason}; TMPDIR may name another folder") from error


class CocoExport:
    """COCO files on their way. The first is put into the storage last: where it exists, all do.

    Args:
        storage: Where the files go.
        settings: How large a file may become, though a single image may be larger, and how masks are spelt.
        spool: A folder for files that are not finished.
        numbers: Of images, masks and categories.
    """

    def __init__(self, storage: Storage, settings: CocoConfig, spool: Path, numbers: Numbers) -> None:
        self._storage, self._settings, self._spool, self._numbers = storage, settings, spool, numbers
        self._info: Mapping[str, str] = {}
        self._files: list[_File] = []
        self._keys: list[str] = []

    def add(self, part: pa.Table) -> None:
        """Write a part's images and masks; the metadata of the first becomes COCO's `info`.

        Raises:
            StorageError: A file cannot be written, or scratch space for it.
            ValueError: A number is NaN or infinite, which JSON cannot say.
        """
        if not self._files:
            self._info = part_metadata(part)
        for row in decoded_rows(part):
            masks = [self._mask(mask, row, prompt) for mask, prompt in masks_with_prompts(row)]
            self._write(_Entry(_json(self._image(row)), masks))

    def finish(self) -> list[str]:
        """Complete the files.

        Returns:
            Their keys: `annotations.json`, or `annotations-00000.json` and so on.
        """
        if not self._files:
            self._open_file()
        if len(self._files) > 1:
            self._put(self._files.pop())
        self._keys.insert(0, FIRST_OF_SEVERAL if self._keys else ONE)
        with _scratch():
            self._files[0].close()
        self._storage.put_file(self._keys[0], self._files[0].path)
        return self._keys

    def close(self) -> None:
        """Let go of files that were not completed."""
        for file in self._files:
            file.discard()

    def _write(self, entry: _Entry) -> None:
        size = sum(len(text) + len(_BETWEEN) for text in (entry.image, *entry.masks))
        if not self._files or (self._files[-1].has_images and self._files[-1].size + size > self._settings.max_bytes):
            if len(self._files) > 1:
                self._put(self._files.pop())
            self._open_file()
        with _scratch():
            self._files[-1].add(entry, size)

    def _open_file(self) -> None:
        """The first one stays until the end; each of the others replaces the one before."""
        with _scratch():
            self._files.append(
                _File(self._spool / f"{min(len(self._files), 1)}.json", self._numbers.categories, self._info)
            )

    def _put(self, file: "_File") -> None:
        with _scratch():
            file.close()
        self._keys.append(f"{COCO}/annotations-{len(self._keys) + 1:05d}.json")
        self._storage.put_file(self._keys[-1], file.path)

    def _image(self, row: _Row) -> _Row:
        number = self._numbers.image(row["image_id"])
        return {"id": number, "file_name": row["key"], "width": row["width"], "height": row["height"]}

    def _mask(self, mask: _Row, row: _Row, prompt: _Row | None) -> bytes:
        """One mask, put together by hand, since an encoder takes half of the time of an export."""
        iou, stability, bbox, crop = (mask[name] for name in _NUMBERS)
        points = mask["point_coords"]
        if not isfinite(iou + stability + sum(bbox) + sum(crop) + sum(map(sum, points))):
            raise ValueError(f"{row['key']}: mask {mask['mask_id']} has a number that JSON cannot say")
        scores = f'"predicted_iou":{iou},"stability_score":{stability}'
        score, attributes, others = (iou, "", "") if prompt is None else _of_prompt(prompt, iou)
        spelt = _SPELLINGS[self._settings.segmentation](mask["counts"], row["height"], row["width"])
        return (
            f'{{"id":{self._numbers.annotation(row["image_id"], mask["mask_id"], prompt)},'
            f'"image_id":{self._numbers.image(row["image_id"])},"category_id":{self._numbers.category(prompt)},'
            f'"segmentation":{spelt},"area":{mask["area"]},"bbox":{bbox},"iscrowd":0,'
            f'"score":{score},"attributes":{{{attributes}{scores}}},{scores},'
            f'"point_coords":{points},"crop_box":{crop}{others}}}'
        ).encode("ascii")


def _of_prompt(prompt: _Row, iou: float) -> tuple[Any, str, str]:
    """The score, attributes and further keys that a mask has of its prompt: of what its source says, and its own."""
    own = json.loads(prompt["attributes"] or "{}")
    score, attributes = own.pop("score", iou), own.pop("attributes", None)
    attributes = attributes if isinstance(attributes, dict) else {}
    inner = {name: value for name, value in attributes.items() if name not in _NUMBERS}
    others = {name: value for name, value in own.items() if name not in _WRITTEN}
    others |= {"prompt_id": prompt["prompt_id"], "prompt_box": _xywh(prompt["box"])}
    texts = (_ENCODER.encode(value) for value in (score, inner, others))
    score, inner_text, others_text = texts
    return score, inner_text[1:-1] + "," * bool(inner), "," + others_text[1:-1]


class _File:
    """One COCO file: masks as they come; the shorter list of images waits beside and follows.

    Attributes:
        path: Of the file.
        size: Its bytes, once closed.
        has_images: At least one.
    """

    def __init__(self, path: Path, categories: Sequence[_Row], info: Mapping[str, str]) -> None:
        opening, self._middle, self._closing = _frame(categories, info)
        self.path, self.has_images = path, False
        self.size = len(opening) + len(self._middle) + len(self._closing)
        self._masks, self._images = path.open("wb"), TemporaryFile()  # noqa: SIM115 - closed by close or discard
        self._masks.write(opening)
        self._between = b""

    def add(self, entry: _Entry, size: int) -> None:
        """Append an image of so many bytes."""
        self._images.write(_BETWEEN * self.has_images + entry.image)
        for mask in entry.masks:
            self._masks.write(self._between + mask)
            self._between = _BETWEEN
        self.has_images, self.size = True, self.size + size

    def discard(self) -> None:
        """Close it as it is."""
        for file in (self._masks, self._images):
            with suppress(OSError):  # what could not be written is of no use to anybody
                file.close()

    def close(self) -> None:
        """Complete it."""
        self._images.seek(0)
        self._masks.write(self._middle)
        shutil.copyfileobj(self._images, self._masks)
        self._masks.write(self._closing)
        self._masks.close()
        self._images.close()


def _frame(categories: Sequence[_Row], info: Mapping[str, str]) -> tuple[bytes, bytes, bytes]:
    """What stands before the masks, between masks and images, and after the images."""
    rest = _json({"categories": categories, "licenses": [], "info": {"description": "Masks of objects", **info}})
    return b'{"annotations":[\n', b'\n],"images":[\n', b"\n]," + rest.removeprefix(b"{") + b"\n"


def _xywh(box: Sequence[float] | None) -> list[float] | None:
    return None if box is None else [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _polygons(counts: str, height: int, width: int) -> list[list[float]]:
    """Exact, holes and parts included; whole numbers without a point behind them."""
    rings = edge_polygons(counts, height, width)
    return [[int(side) if side.is_integer() else side for side in ring_n2.ravel().tolist()] for ring_n2 in rings]


def _compressed(counts: str, height: int, width: int) -> str:
    escaped = counts.replace(
        "\\", "\\\\"
    )  # of the characters of run lengths the only one that JSON has another use for
    return f'{{"size":[{height},{width}],"counts":"{escaped}"}}'


_SPELLINGS: Final[dict[str, Callable[[str, int, int], str]]] = {
    "rle": _compressed,
    "counts": lambda counts, height, width: (
        f'{{"size":[{height},{width}],"counts":{_ENCODER.encode(run_lengths_of(counts).tolist())}}}'
    ),
    "polygons": lambda counts, height, width: _ENCODER.encode(_polygons(counts, height, width)),
}


def _json(value: _Row) -> bytes:
    return _ENCODER.encode(value).encode("ascii")
