"""Labelled images by name: those of an output, part by part, and those of a COCO file, which lies in memory."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Entry, read_uri, shown
from sam_batch.errors import ConfigError, ImageError
from sam_batch.evaluate.recall import Mask
from sam_batch.masks import rle
from sam_batch.output import schema
from sam_batch.output.output import Output
from sam_batch.prompts.matching import AmbiguousError, Names
from sam_batch.prompts.segmentation import to_counts
from sam_batch.records import Annotation, ImageResult

_PARTS_KEPT = 4  # in memory: images that lie together in one output mostly do so in another


class Labelled(NamedTuple):
    """What is known of an image.

    Attributes:
        size_hw: Its height and width; zeros where it could not be read.
        masks: Empty where it failed.
    """

    size_hw: tuple[int, int]
    masks: Sequence[Mask]


class Images(Protocol):
    """Labelled images, by their place."""

    @property
    def entries(self) -> Sequence[Entry]:
        """Their names, as keys."""
        ...

    def at(self, place: int) -> Labelled:
        """One of them."""
        ...


class CocoImages:
    """The images of a COCO file and their objects.

    Args:
        uri: Of the file.
        config: How object stores are reached.

    Raises:
        ConfigError: It is no COCO instance file.
        StorageError: It cannot be read.
    """

    def __init__(self, uri: str, config: StorageConfig) -> None:
        try:
            told = json.loads(read_uri(uri, config))
            images, objects = told["images"], dict[Any, list[Mapping[str, Any]]]()
            for one in told["annotations"]:
                objects.setdefault(one["image_id"], []).append(one)
            self.entries = [Entry(str(image["file_name"]), "") for image in images]
            self._images = [_labelled(image, objects.get(image["id"], [])) for image in images]
        except ImageError as error:
            raise ConfigError(f"{shown(uri)}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{shown(uri)}: is no COCO file of masks: {reason}") from error

    def at(self, place: int) -> Labelled:
        """One of the images."""
        return self._images[place]


def _labelled(image: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> Labelled:
    size_hw = (int(image["height"]), int(image["width"]))
    return Labelled(size_hw, [_true_mask(one, size_hw) for one in objects if one.get("segmentation")])


def _true_mask(one: Mapping[str, Any], size_hw: tuple[int, int]) -> Mask:
    counts = to_counts(one["segmentation"], size_hw)
    area = one["area"] if "area" in one else rle.area(counts, *size_hw)
    return Mask(counts, float(area), is_crowd=bool(one.get("iscrowd")))


class StoredImages:
    """The images of an output that have a row.

    Args:
        output: Finished or not.

    Raises:
        OutputError: There is no job.
    """

    def __init__(self, output: Output) -> None:
        self._output, self.plan = output, output.require_plan()
        self._done = output.done()
        self._parts = OrderedDict[int, dict[int, Labelled]]()
        self._ids, self.entries = list[int](), list[Entry]()
        for block in self.plan.counted_blocks(["image_id", "shard", "key"]):
            for image_id, shard, key in zip(*(block[name].to_pylist() for name in block.column_names), strict=True):
                if shard in self._done:
                    self._ids.append(image_id)
                    self.entries.append(Entry(key, ""))

    def rows(self, columns: pa.Schema = schema.ANNOTATION_SCHEMA) -> Iterator[ImageResult]:
        """The rows of all images, in the order of the plan.

        Raises:
            JobError: A part is not of the plan.
        """
        retired = set(self.plan.retired.tolist())
        for part in self._output.whole_parts(self.plan, self._done, columns):
            yield from (row for row in schema.table_to_results(part) if row.ref.image_id not in retired)

    def at(self, place: int) -> Labelled:
        """One of the images; the last parts that were read are kept."""
        image_id = self._ids[place]
        (shard,) = self.plan.shard_of([image_id])
        if shard not in self._parts:
            (part,) = self._output.whole_parts(self.plan, [shard])
            self._parts[shard] = {row.ref.image_id: of_row(row) for row in schema.table_to_results(part)}
            if len(self._parts) > _PARTS_KEPT:
                self._parts.popitem(last=False)
        self._parts.move_to_end(shard)
        return self._parts[shard][image_id]


def of_row(row: ImageResult) -> Labelled:
    """An image as its row has it."""
    return Labelled((row.height, row.width), of_annotations(row.annotations))


def of_annotations(annotations: Sequence[Annotation]) -> list[Mask]:
    """Masks of a row; their score is the predicted IoU."""
    return [Mask(one.counts, one.area, one.predicted_iou) for one in annotations]


class Pairing:
    """Which image of others a name means; each is meant once.

    Args:
        others: Those images.
    """

    def __init__(self, others: Images) -> None:
        self._others, self._names = others, Names(others.entries)
        self._meant = dict[int, str]()

    def find(self, name: str) -> Labelled | None:
        """The image of this name; None where there is none.

        Raises:
            ConfigError: The name may mean several, or an image is meant by two names.
        """
        match = self._names.find(name)
        if match is None:
            return None
        before = self._meant.setdefault(match.place, name)
        if before != name:
            key = self._others.entries[match.place].key
            raise AmbiguousError(f"{shown(before)} and {shown(name)} both mean {shown(key)}")
        return self._others.at(match.place)

    def left(self) -> list[str]:
        """The names that were not meant."""
        return [entry.key for place, entry in enumerate(self._others.entries) if place not in self._meant]


def open_truth(uri: str, config: StorageConfig) -> Images:
    """A COCO file by its ending, else an output."""
    return CocoImages(uri, config) if uri.lower().endswith(".json") else StoredImages(Output.at(uri, config))
