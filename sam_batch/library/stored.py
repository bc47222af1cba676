"""What a job has written, as values and tables: `sam_batch.read(output)`.

The rows come part by part, in the plan's order, so memory holds a few parts and not the output. It looks at nothing but
plan and rows: pictures and photographs are files of their own. pandas, DuckDB and supervision are imported when they
are asked for.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sam_batch import configfile
from sam_batch.errors import ConfigError
from sam_batch.library.results import Masks
from sam_batch.masks import rle
from sam_batch.output import schema
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan
from sam_batch.records import Failure, ImageResult, PixelNote, PromptResult, Status

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import supervision as sv

_AT_ONCE = 64  # images whose records are made together
_OF_IMAGE = ("image_id", "key", "height", "width")  # what a mask's row repeats
_MASK_SCHEMA = pa.schema(
    [
        *(schema.ANNOTATION_SCHEMA.field(name) for name in _OF_IMAGE),
        *schema.ANNOTATION_SCHEMA.field("masks").type.value_type,
    ]
)


def read(output: str | os.PathLike[str], storage: Mapping[str, Any] | None = None) -> "Records":
    """Open what a job has written, finished or not.

    Args:
        output: Its folder, or the URI of its prefix in an object store.
        storage: Keys of the section `storage` of a configuration, such as `{"endpoint_url": "http://minio:9000"}`.

    Returns:
        The rows of the shards that are done now.

    Raises:
        ConfigError: The place or the storage's settings are wrong.
        OutputError: No job has begun there.
        StorageError: It cannot be reached.
    """
    defaults = {"input": {"uri": "not looked at"}, "output": {"uri": os.fspath(output)}, "storage": dict(storage or {})}
    config = configfile.load([], defaults=defaults)
    there = Output.at(config.output.uri, config.storage)
    return Records(there, there.require_plan())


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """How one image ended.

    Attributes:
        image_id: Position in the plan; never changes.
        key: Path relative to the input's root.
        uri: Where it was listed last.
        status: ok, empty (no masks) or failed.
        height: Of the decoded image, in pixels; 0 where it could not be loaded.
        width: Likewise.
        sha256: Of its bytes; empty where they could not be read.
        masks: In the order of the job; none unless the status is ok.
        failure: Present exactly when the status is failed.
        notes: What decoding lost.
        prompts: How each of its prompts ended; empty where it carries none.
    """

    image_id: int
    key: str
    uri: str
    status: Status
    height: int
    width: int
    sha256: str
    masks: Masks
    failure: Failure | None
    notes: tuple[PixelNote, ...]
    prompts: tuple[PromptResult, ...]

    @classmethod
    def of(cls, result: ImageResult) -> Self:
        """The record of a row."""
        ref, size_hw = result.ref, (result.height, result.width)
        about = (ref.image_id, ref.key, ref.uri, result.status, *size_hw, result.sha256)
        return cls(*about, Masks(result.annotations, *size_hw), result.failure, result.notes, result.prompts)

    def detections(self) -> "sv.Detections":
        """The masks for supervision, as run lengths: its `CompactMask`.

        `xyxy` are corners in pixels, x1 and y1 one past the last pixel; `confidence` is the predicted IoU; `data` has
        `mask_id` and `stability_score`. Where each mask was asked for by a prompt of a category, `class_id` is the
        category's and `data["class_name"]` its name.

        Raises:
            ConfigError: supervision is not installed, or older than 0.31.
        """
        sv = _package("supervision", "0.31")
        if not len(self.masks):
            return sv.Detections.empty()
        boxes_K4 = self.masks.boxes
        runs = [rle.as_coco(counts, self.height, self.width) for counts in self.masks.counts]
        last_pixels_K4 = boxes_K4 - [0, 0, 1, 1]  # CompactMask's boxes hold their last pixels
        compact = import_module("supervision.detection.compact_mask").CompactMask
        mask_ids = np.array([one.mask_id for one in self.masks.annotations])
        labels = self._labels()
        return sv.Detections(
            xyxy=boxes_K4.astype(np.float32),
            mask=compact.from_coco_rle(runs, last_pixels_K4, (self.height, self.width)),
            confidence=self.masks.scores,
            class_id=np.array([number for number, _ in labels]) if labels else None,
            data={"mask_id": mask_ids, "stability_score": self.masks.stability}
            | ({"class_name": np.array([name for _, name in labels])} if labels else {}),
        )

    def _labels(self) -> list[tuple[int, str]]:
        """Number and name of each mask's category; nothing unless all have one."""
        asked = {one.prompt.prompt_id: one.prompt for one in self.prompts}
        prompts = [asked.get(mask.prompt.prompt_id) for mask in self.masks]
        named = [(one.category_id, one.category or "") for one in prompts if one is not None]
        labels = [(number, name) for number, name in named if number is not None]
        return labels if len(labels) == len(prompts) else []


class Rows(ABC):
    """A table that is read part by part, anew whenever somebody wants it.

    What takes Arrow streams (`__arrow_c_stream__`: DuckDB, polars, pyarrow) takes this.

    Attributes:
        schema: Of the table.
    """

    schema: pa.Schema

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in order; memory holds a few parts.

        Raises:
            StorageError: A part cannot be read.
            JobError: A part is of another job.
        """

    def reader(self) -> pa.RecordBatchReader:
        """The same for those who take Arrow's readers, once."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.reader().__arrow_c_stream__(requested_schema)

    def arrow(self) -> pa.Table:
        """All rows, in memory."""
        return self.reader().read_all()

    def to_pandas(self) -> "pd.DataFrame":
        """Likewise.

        Raises:
            ConfigError: pandas is not installed, or older than 2.2.
        """
        _package("pandas", "2.2")
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def to_duckdb(self, connection: "duckdb.DuckDBPyConnection | None" = None) -> "duckdb.DuckDBPyRelation":
        """A relation that reads the parts whenever it is asked.

        Args:
            connection: Whose relation; None is DuckDB's own.

        Raises:
            ConfigError: DuckDB is not installed, or older than 1.5, which takes a stream once.
        """
        package = _package("duckdb", "1.5")
        relation: duckdb.DuckDBPyRelation = (package if connection is None else connection).from_arrow(self)
        return relation


class Records(Rows):
    """The rows of an output, one an image; iterating gives `ImageRecord`s.

    They are those of the shards that were done when it was opened, without images that have left the input since.

    Args:
        output: Where they lie.
        plan: Of it.
    """

    schema = schema.ANNOTATION_SCHEMA

    def __init__(self, output: Output, plan: Plan) -> None:
        self._output, self._plan, self._done = output, plan, output.done()

    def __len__(self) -> int:
        """How many images."""
        return self._plan.image_count(self._done)

    def __iter__(self) -> Iterator[ImageRecord]:
        for part in self._parts():
            for start in range(0, part.num_rows, _AT_ONCE):
                yield from map(ImageRecord.of, schema.table_to_results(part.slice(start, _AT_ONCE)))

    def __repr__(self) -> str:
        return f"<{len(self)} of {self.planned} images in {self._output.storage.root}>"

    @property
    def planned(self) -> int:
        """How many images the job has."""
        return len(self._plan)

    @cached_property
    def masks(self) -> Rows:
        """One row a mask: its fields, and `image_id`, `key`, `height` and `width` of its image."""
        return _MaskRows(self)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """See `Rows.batches`."""
        for part in self._parts():
            yield from part.replace_schema_metadata(None).to_batches()

    def _parts(self) -> Iterator[pa.Table]:
        return self._output.parts(self._plan, self._done)


class _MaskRows(Rows):
    schema = _MASK_SCHEMA

    def __init__(self, images: Records) -> None:
        self._images = images

    def batches(self) -> Iterator[pa.RecordBatch]:
        for images in self._images.batches():
            masks = images.column("masks")
            owners = images.select(_OF_IMAGE).take(pc.list_parent_indices(masks))
            yield pa.RecordBatch.from_arrays(owners.columns + pc.list_flatten(masks).flatten(), schema=self.schema)


def _package(name: str, least: str) -> Any:
    """A package that is no dependency.

    Raises:
        ConfigError: It is not installed, or older than a version such as 1.5.
    """
    remedy = f"pip install '{name}>={least}'"
    try:
        package = import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is not installed, or does not load ({error}): {remedy}") from error
    if _numbers(version(name)) < _numbers(least):
        raise ConfigError(f"{name} {version(name)} is too old: {remedy}")
    return package


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))
