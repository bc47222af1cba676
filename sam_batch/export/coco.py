"""Annotation parts to COCO instance annotations, streamed: memory holds one part, a local temporary folder the rest.

What the files say: every image that was decoded, with or without masks, under the `image_id` of the plan (from 0) and
its key as `file_name`, or that of its picture beside them, and `key`; every mask with an id of its own
(`export.numbers`), with `iscrowd` 0, in one category. Where masks were made from prompts, ids and categories are those
of the prompts' source, and what it says besides of an object stands beside its mask. Besides COCO's fields a mask has
segment-anything's: predicted_iou, stability_score, point_coords and crop_box; and the two scores under the names that
readers look for: `score`, and in `attributes`. Failed images have no size and are left out. Above a number of bytes
there are several files (`export.coco_files`), each complete in itself, with ids that are unique over all.
"""

import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import isfinite
from typing import Any, Final, TypeAlias

import pyarrow as pa

from sam_batch.config_output import DatasetConfig, OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco_files import ENCODER, CocoFiles, as_json, open_files
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.export.pictures import THREADS, Pictures
from sam_batch.masks.polygons import edge_polygons, run_lengths_of
from sam_batch.output import layout
from sam_batch.output.fingerprint import PLACE
from sam_batch.output.plan import Plan
from sam_batch.output.schema import part_metadata

_Row: TypeAlias = dict[str, Any]
_NUMBERS: Final = ("predicted_iou", "stability_score", "bbox", "crop_box")
_WRITTEN: Final = {
    *("id", "image_id", "category_id", "segmentation", "area", "iscrowd", "point_coords", "prompt_id", "prompt_box"),
    *_NUMBERS,
}


@contextmanager
def open_coco(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["CocoExport"]:
    """Start the COCO files of an output; see `formats.Export`."""
    settings = config.coco
    with open_files(storage, f"{layout.COCO}/annotations", settings.max_bytes) as files:
        pictures = Pictures(storage, settings.images, plan, "output.coco.images")
        numbers = Numbers(plan, config.dataset.category)
        about = _about(config.dataset, plan)
        yield CocoExport(files, about, numbers, pictures, layout.COCO_IMAGES, settings.segmentation)


def _about(dataset: DatasetConfig, plan: Plan | None) -> _Row:
    """COCO's `licenses` and `info`, so far."""
    info = dataset.model_dump(include={"description", "version", "contributor", "url"}, exclude_none=True)
    if plan is not None and PLACE in plan.fingerprint:
        info["input"] = ", ".join(json.loads(plan.fingerprint[PLACE]))
    if dataset.license is None:
        return {"licenses": [], "info": info}
    return {"licenses": [{"id": 1, "name": dataset.license, "url": dataset.license_url or ""}], "info": info}


class CocoExport:
    """The images and masks of COCO files.

    Args:
        files: Where they go.
        about: COCO's `licenses` and `info`.
        numbers: Of images, masks and categories.
        pictures: That lie beside the files.
        folder: Of the pictures.
        spelling: Of masks: `rle`, `counts` or `polygons`.
    """

    def __init__(
        self, files: CocoFiles, about: _Row, numbers: Numbers, pictures: Pictures, folder: str, spelling: str
    ) -> None:
        self._files, self._numbers, self._spell = files, numbers, _SPELLINGS[spelling]
        self._pictures, self._folder = pictures, folder
        self._license = {"license": 1} if about["licenses"] else {}
        self._files.rest = {"categories": numbers.categories, **about}
        self._has_begun = False

    def add(self, part: pa.Table) -> None:
        """Write a part's images and masks; the metadata of the first goes into COCO's `info`.

        Raises:
            StorageError: A file cannot be read or written, or scratch space for it.
            JobError: A picture is gone, or another than was labelled.
            ValueError: A number is NaN or infinite, which JSON cannot say.
        """
        if not self._has_begun:
            self._has_begun = True
            self._files.rest["info"] |= part_metadata(part)
        rows = decoded_rows(part)
        with ThreadPoolExecutor(THREADS) as pool:
            pictures = list(pool.map(lambda row: self._pictures.put(row, self._folder), rows))
        for row, picture in zip(rows, pictures, strict=True):
            masks = [self._mask(mask, row, prompt) for mask, prompt in masks_with_prompts(row)]
            self._files.add(as_json(self._image(row, picture)), masks)

    def finish(self) -> list[str]:
        """Complete the files, and return their keys."""
        return self._files.finish()

    def _image(self, row: _Row, picture: str | None) -> _Row:
        size = {"width": row["width"], "height": row["height"], **self._license}
        number = self._numbers.image(row["image_id"])
        if picture is None:
            return {"id": number, "file_name": row["key"], **size}
        return {"id": number, "file_name": posixpath.relpath(picture, self._folder), "key": row["key"], **size}

    def _mask(self, mask: _Row, row: _Row, prompt: _Row | None) -> bytes:
        """One mask, put together by hand, since an encoder takes half of the time of an export."""
        iou, stability, bbox, crop = (mask[name] for name in _NUMBERS)
        points = mask["point_coords"]
        if not isfinite(iou + stability + sum(bbox) + sum(crop) + sum(map(sum, points))):
            raise ValueError(f"{row['key']}: mask {mask['mask_id']} has a number that JSON cannot say")
        scores = f'"predicted_iou":{iou},"stability_score":{stability}'
        score, attributes, others = (iou, "", "") if prompt is None else _of_prompt(prompt, iou)
        spelt = self._spell(mask["counts"], row["height"], row["width"])
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
    texts = (ENCODER.encode(value) for value in (score, inner, others))
    score, inner_text, others_text = texts
    return score, inner_text[1:-1] + "," * bool(inner), "," + others_text[1:-1]


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
        f'{{"size":[{height},{width}],"counts":{ENCODER.encode(run_lengths_of(counts).tolist())}}}'
    ),
    "polygons": lambda counts, height, width: ENCODER.encode(_polygons(counts, height, width)),
}
