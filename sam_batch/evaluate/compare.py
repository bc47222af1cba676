"""Two labellings of the same images side by side: counts, how well masks agree, what one recalls of the other.

It decides nothing: which of two is better is not in their masks, unless one of them is the truth.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam_batch.config import StorageConfig
from sam_batch.data.storage import shown, some
from sam_batch.errors import ConfigError
from sam_batch.evaluate.labelled import Labelled, Pairing, StoredImages, of_row, open_truth
from sam_batch.evaluate.recall import Mask, Recall
from sam_batch.masks.rle import as_coco
from sam_batch.output.output import Output
from sam_batch.wording import counted

SAME_OBJECT: Final = 0.5  # IoU from which on two masks count as masks of the same thing


@dataclass(slots=True)
class Comparison:
    """What two labellings have in common.

    Attributes:
        first: Where the one lies.
        second: Where the other lies, which recall takes for the truth.
        images: In both.
        only_first: Names of images that only the first has.
        only_second: Likewise.
        other_size: Names of images that are in both, but not with the same height and width; they count nowhere else.
        masks: Of the images in both, in the first and in the second; crowds do not count.
        more: Images by where they have more masks: first, second or equal.
        matched: Pairs of masks of at least `SAME_OBJECT`, each mask in one at most, the highest IoU first.
        mean_iou: Of these pairs; None without any.
        recall: Average recall by size of the objects and by masks an image, as `Recall.average` returns it.
    """

    first: str
    second: str
    images: int = 0
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    other_size: list[str] = field(default_factory=list)
    masks: list[int] = field(default_factory=lambda: [0, 0])
    more: Counter[str] = field(default_factory=lambda: Counter(first=0, second=0, equal=0))
    matched: int = 0
    mean_iou: float | None = None
    recall: dict[str, dict[int, float | None]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The attributes."""
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)}, indent=2, allow_nan=False)

    def to_text(self) -> str:
        """For a person."""
        ours, theirs = self.masks
        lines = [
            f"{counted(self.images, 'image')} in both: {counted(ours, 'mask')} in {self.first}, {theirs} in "
            f"{self.second} ({ours - theirs:+})",
            f"images with more masks in the first: {self.more['first']}, in the second: {self.more['second']}, "
            f"with as many: {self.more['equal']}",
            f"{counted(self.matched, 'pair')} of masks with an IoU of {SAME_OBJECT:g} at least"
            + ("" if self.mean_iou is None else f", {self.mean_iou:.3f} in the mean"),
            _table(self.recall),
        ]
        for told, names in (
            (f"only in {self.first}", self.only_first),
            (f"only in {self.second}", self.only_second),
            ("of another height or width, and not compared", self.other_size),
        ):
            lines += [f"{counted(len(names), 'image')} {told}: {some(names)}"] if names else []
        return "\n".join(lines)


def _table(recall: dict[str, dict[int, float | None]]) -> str:
    columns = list(recall["all"])
    lines = ["average recall of the second's masks, by their size and masks an image"]
    lines.append(" " * 8 + "".join(f"{most:>8}" for most in columns))
    for size, values in recall.items():
        lines.append(f"{size:<8}" + "".join(_cell(values[most]) for most in columns))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:>8.3f}"


def compare_outputs(first: Output, second: str, config: StorageConfig) -> Comparison:
    """Compare an output with another one, or with a COCO file.

    Args:
        first: Finished or not: what has a row counts.
        second: URI of an output, or of a COCO file (.json), which is read into memory.
        config: How object stores are reached.

    Raises:
        ConfigError: The file is no COCO file, names do not tell images apart, or no image is in both.
        OutputError: There is no job.
        StorageError: A file cannot be read.
    """
    ours, pairing = StoredImages(first), Pairing(open_truth(second, config))
    comparison, recall, ious = Comparison(shown(first.storage.root), shown(second)), Recall(), 0.0
    for row in ours.rows():
        there = pairing.find(row.ref.key)
        if there is None:
            comparison.only_first.append(row.ref.key)
        elif 0 not in (row.height, *there.size_hw) and there.size_hw != (row.height, row.width):
            comparison.other_size.append(row.ref.key)
        else:
            ious += _add(comparison, recall, of_row(row), there)
    comparison.only_second = pairing.left()
    if not comparison.images:
        raise ConfigError(f"{comparison.second}: has no image of {comparison.first} by the name of its file")
    comparison.mean_iou = ious / comparison.matched if comparison.matched else None
    comparison.recall = recall.average()
    return comparison


def _add(comparison: Comparison, recall: Recall, ours: Labelled, theirs: Labelled) -> float:
    """Count an image; the sum of the IoUs of its pairs."""
    size_hw = theirs.size_hw if theirs.size_hw[0] else ours.size_hw
    objects = [mask for mask in theirs.masks if not mask.is_crowd]
    recall.add(ours.masks, theirs.masks, size_hw)
    pairs = pair(_iou(ours.masks, objects, size_hw))
    difference = len(ours.masks) - len(objects)
    comparison.images += 1
    comparison.more["equal" if not difference else "first" if difference > 0 else "second"] += 1
    comparison.masks = [comparison.masks[0] + len(ours.masks), comparison.masks[1] + len(objects)]
    comparison.matched += len(pairs)
    return sum(pairs)


def pair(iou_AB: NDArray[np.float64]) -> list[float]:
    """Pair rows with columns, each at most once, the highest IoU first; the IoUs of at least `SAME_OBJECT`, falling."""
    rows, columns = np.nonzero(iou_AB >= SAME_OBJECT)
    values = iou_AB[rows, columns]
    taken_rows, taken_columns, ious = set[int](), set[int](), list[float]()
    for place in np.argsort(-values, kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            ious.append(float(values[place]))
    return ious


def _iou(ours: Sequence[Mask], theirs: Sequence[Mask], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(A, B)."""
    if not ours or not theirs:
        return np.zeros((len(ours), len(theirs)))
    rows, columns = ([as_coco(mask.counts, *size_hw) for mask in masks] for masks in (ours, theirs))
    crowds: list[Any] = [0] * len(columns)
    return np.asarray(coco.iou(rows, columns, crowds), dtype=np.float64)
