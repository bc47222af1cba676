"""A program that reads what sam-batch writes, and how much of it comes back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam_batch.config import StorageConfig
from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.formats import open_exports
from sam_batch.output import layout
from sam_batch.output.card import card
from sam_batch.output.schema import part_bytes, results_to_table
from sam_batch.output.summary import Summary
from support.exports import PLAN, result_at
from support.readers.cases import Photo


class Found(NamedTuple):
    """An image as a program read it: under what name, with which masks, and as which (H, W, 3) RGB where it says so."""

    name: str
    masks: list[np.ndarray]
    picture: np.ndarray | None = None


class Made(NamedTuple):
    """Where photographs and the output of a job over them lie."""

    photos: Path
    output: Path


@dataclass(frozen=True)
class Reader:
    """A program, a format, and the way from one to the other.

    Attributes:
        name: As the table says it.
        package: Of the Python Package Index, whose version the table names.
        format: Of `output.exports`; empty for the rows themselves.
        read: Gives each image that the program finds.
        settings: Of the format.
        name_of: What the program calls an image, of its key.
        losses: Why a case is not read as it was written, by the case.
    """

    name: str
    package: str
    format: str
    read: Callable[[Made], Iterator[Found]]
    settings: dict[str, Any] = field(default_factory=dict)
    name_of: Callable[[str], str] = str
    losses: dict[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> str:
        """The format, with settings that are not the default."""
        settings = (f"`{name}: {value}`" for name, value in self.settings.items() if value)
        return ", ".join([f"`{self.format}`" if self.format else "rows", *settings])


def make(reader: Reader, photos: list[Photo], folder: Path) -> Made:
    """Draw photographs, and write what a job over them would have, with the export of a reader."""
    made = Made(folder / "photos", folder / "output")
    results = [result_at(photo.save(made.photos), photo, place) for place, photo in enumerate(photos)]
    storage, table = Storage(str(made.output), StorageConfig()), results_to_table(results, {})
    storage.write(layout.part_key(layout.ANNOTATIONS, 0), part_bytes(table))
    summary = Summary(str(made.output), 0.0)
    storage.write(layout.CARD, card(summary, PLAN))
    formats = [reader.format] if reader.format else []
    section = reader.format.removesuffix("-images").replace("-", "_")
    sections = {section: reader.settings} if reader.settings else {}
    with open_exports(formats, storage, OutputConfig(uri=str(made.output), **sections), PLAN) as exports:
        exports.add(table)
        exports.finish()
    return made


def agreement(reader: Reader, photos: list[Photo], found: list[Found]) -> float:
    """The smallest IoU of any mask with what was read for it, or of what was read with any; 1 where all is the same."""
    by_name = {one.name: one for one in found}
    return min(_of_image(photo, by_name.get(reader.name_of(photo.key))) for photo in photos)


def _of_image(photo: Photo, found: Found | None) -> float:
    if found is None:
        return 0.0
    if found.picture is not None and not _is_drawn(photo, found.picture):
        return 0.0
    if not photo.masks or not found.masks:
        return float(len(photo.masks) == len(found.masks))
    if any(mask_HW.shape != photo.size for mask_HW in found.masks):
        return 0.0
    ious = np.array([[_iou(mask_HW, other_HW) for other_HW in found.masks] for mask_HW in photo.masks])
    worst = float(min(ious.max(axis=0).min(), ious.max(axis=1).min()))
    return worst if worst < 1 or len(photo.masks) == len(found.masks) else 0.0


def _is_drawn(photo: Photo, picture_HW3: np.ndarray) -> bool:
    return picture_HW3.shape[:2] == photo.size and bool(((picture_HW3[..., 1] < 128) == photo.drawn_HW).mean() > 0.99)


def _iou(mask_HW: np.ndarray, other_HW: np.ndarray) -> float:
    return float((mask_HW & other_HW).sum() / max(1, (mask_HW | other_HW).sum()))
