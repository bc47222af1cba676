"""Annotation parts to COCO instance annotations, streamed: memory holds one part, a local temporary folder the rest.

What the files say: every image that was decoded, with or without masks, under the `image_id` of the plan and 1 more,
and its key as `file_name`, or that of its picture beside them and `key`; every mask with an id of its own
(`export.numbers`), with `iscrowd` 0, in one category. Where masks were made from prompts, ids and categories are those
of the prompts' source, and what it says besides of an object stands beside its mask. Besides COCO's fields a mask has
segment-anything's: predicted_iou, stability_score, point_coords and crop_box; and the two scores under the names that
readers look for: `score`, and in `attributes`. Failed images have no size and are left out. Above a number of bytes
there are several files (`export.coco_files`), each complete in itself, with ids that are unique over all.
"""

import json
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config_output import DatasetConfig, OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco_files import CocoFiles, as_json, open_files
from sam_batch.export.coco_masks import json_of_masks
from sam_batch.export.numbers import Numbers
from sam_batch.export.pictures import THREADS, Pictures
from sam_batch.output import layout
from sam_batch.output.fingerprint import PLACE
from sam_batch.output.plan import Plan
from sam_batch.output.schema import part_metadata
from sam_batch.records import Status

_Row: TypeAlias = dict[str, Any]


@contextmanager
def open_coco(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["CocoExport"]:
    """Start the COCO files of an output; see `formats.Export`."""
    with open_files(storage, f"{layout.COCO}/annotations", config.coco.max_bytes) as files:
        yield CocoExport(files, config, plan, config.coco.segmentation)


@contextmanager
def open_coco_images(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["CocoExport"]:
    """Likewise, with pictures beside them."""
    pictures = Pictures(storage, config.coco.images, plan)
    with open_files(storage, "coco-images/annotations", config.coco.max_bytes) as files:
        yield CocoExport(files, config, plan, config.coco.segmentation, Beside(pictures, "coco-images/images"))


def about(dataset: DatasetConfig, plan: Plan | None) -> _Row:
    """COCO's `licenses` and `info`, so far."""
    info = dataset.model_dump(include={"description", "version", "contributor", "url"}, exclude_none=True)
    if plan is not None and PLACE in plan.fingerprint:
        info["input"] = ", ".join(json.loads(plan.fingerprint[PLACE]))
    if dataset.license is None:
        return {"licenses": [], "info": info}
    return {"licenses": [{"id": 1, "name": dataset.license, "url": dataset.license_url or ""}], "info": info}


class Beside(NamedTuple):
    """Pictures, and the folder they go to."""

    pictures: Pictures
    folder: str


class CocoExport:
    """The images and masks of COCO files.

    Args:
        files: Where they go.
        config: What is said of the data set.
        plan: Of the output.
        spelling: Of masks: `rle`, `counts` or `polygons`.
        beside: What lies beside the files; nothing where it is None.
    """

    def __init__(
        self, files: CocoFiles, config: OutputConfig, plan: Plan | None, spelling: str, beside: Beside | None = None
    ) -> None:
        self._files, self._spelling, self._beside = files, spelling, beside
        self._numbers = Numbers(plan, config.dataset.category)
        said = about(config.dataset, plan)
        self._license = {"license": 1} if said["licenses"] else {}
        self._files.rest = {"categories": self._numbers.categories, **said}
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
        decoded = part.filter(pc.not_equal(part["status"], Status.FAILED))
        rows = decoded.select(["image_id", "key", "uri", "sha256", "height", "width"]).to_pylist()
        of_images = json_of_masks(decoded, self._numbers, self._spelling)
        for row, name, masks in zip(rows, self._names(rows), of_images, strict=True):
            self._files.add(as_json(self._image(row, name)), [masks] if masks else [])

    def finish(self) -> list[str]:
        """Complete the files, and return their keys."""
        return self._files.finish()

    def _names(self, rows: list[_Row]) -> list[str]:
        """What the images are called."""
        if self._beside is None:
            return [row["key"] for row in rows]
        pictures, folder = self._beside
        with ThreadPoolExecutor(THREADS) as pool:
            return [posixpath.relpath(key, folder) for key in pool.map(lambda row: pictures.put(row, folder), rows)]

    def _image(self, row: _Row, name: str) -> _Row:
        key = {} if self._beside is None else {"key": row["key"]}
        size = {"width": row["width"], "height": row["height"]}
        return {"id": self._numbers.image(row["image_id"]), "file_name": name, **key, **size, **self._license}
