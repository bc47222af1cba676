"""Results of masks, exported, with what the readers of a format find."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sam_batch.config import StorageConfig
from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.formats import open_exports
from sam_batch.output.plan import Plan, extend
from sam_batch.output.schema import results_to_table
from sam_batch.records import ImageResult
from support.readers.cases import Photo
from support.results import failed, result_of

PLAN = Plan(extend(None, [], shard_size=1), {}, 1)


def export(folder: Path, name: str, results: list[ImageResult], **settings: Any) -> Path:
    """Write some results in a format; returns its folder."""
    section = name.removesuffix("-images").replace("-", "_")
    config = OutputConfig(uri=str(folder), **({section: settings} if settings else {}))
    storage = Storage(str(folder), StorageConfig())
    with open_exports([name], storage, config, PLAN) as exports:
        exports.add(results_to_table(results, {}))
        exports.finish()
    return folder / name


def three_images(mask_HW: np.ndarray) -> list[ImageResult]:
    """With a mask, unless it is empty, without one, and failed."""
    masks = [mask_HW] if mask_HW.any() else []
    return [result_of("b/a.jpg", masks, 0, mask_HW.shape), result_of("none.jpg", [], 1, (4, 5)), failed("bad.jpg", 2)]


def result_at(path: Path, photo: Photo, image_id: int = 0) -> ImageResult:
    """The result of a photograph that lies there."""
    result = result_of(photo.key, photo.masks, image_id, photo.size)
    ref = replace(result.ref, uri=str(path))
    return replace(result, ref=ref, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def written(folder: Path) -> list[str]:
    """The names of a format's files, but for its receipt."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != "export.json")
