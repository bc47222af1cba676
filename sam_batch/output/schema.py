"""The tables: what the values of `sam_batch.records` are in Arrow, in Parquet and between the stages of the job.

`PLAN_SCHEMA` and `ANNOTATION_SCHEMA` (or `CANDIDATE_SCHEMA` in its place) are files, and a file's bytes depend on its
rows and metadata alone: no times, no host names. `LOADED_SCHEMA` and `SEGMENTED_SCHEMA` are what flows between
processes: encoded bytes and resized views, never masks as pixels. Columns are found by name, so that others may stand
beside them.

It opens no file. Sizes above 2 GB are safe: long columns have 64-bit offsets.

Parts are read by programs of their users' own, so the columns of `ANNOTATION_SCHEMA` and the fields in them keep name,
type and meaning. A change only adds, what older parts have as null, and raises `VERSION` by one; docs/formats.md lists
the versions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sam_batch.errors import StorageError
from sam_batch.prompts.arrow import GIVEN, PROMPT, RESULT, prompt_to_row, result_to_row, row_to_prompt, row_to_result
from sam_batch.records import (
    Annotation,
    Failure,
    FailureKind,
    ImageRef,
    ImageResult,
    LoadedImage,
    PixelNote,
    Prompt,
    Stage,
    Status,
    StoredCandidate,
    UInt8Array,
    View,
)

_Row: TypeAlias = dict[str, Any]

VERSION = 2
"""Of `ANNOTATION_SCHEMA`, in a part's metadata as `sam_batch.schema`; parts of sam-batch 0.1.0 have no such number."""
_VERSION_KEY = "sam_batch.schema"

_BOX = pa.list_(pa.float64(), 4)
_ERROR = pa.struct([("stage", pa.string()), ("kind", pa.string()), ("message", pa.string())])
_MASK = pa.struct(
    [
        ("mask_id", pa.int32()),
        ("bbox", _BOX),
        ("area", pa.int64()),
        ("predicted_iou", pa.float32()),
        ("stability_score", pa.float32()),
        ("point_coords", pa.list_(pa.list_(pa.float64(), 2))),
        ("crop_box", _BOX),
        ("prompt_id", pa.string()),
        ("counts", pa.large_string()),
    ]
)
_VIEW = pa.struct(
    [
        ("box", pa.list_(pa.int32(), 4)),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("pixels", pa.large_binary()),
        ("layer", pa.int32()),
    ]
)
_OF_PROMPT = ("point_coords", "prompt_id")  # the columns of a mask that say what it was found with
_REF = [("image_id", pa.int64()), ("key", pa.string()), ("uri", pa.string())]
_DECODED = [("height", pa.int32()), ("width", pa.int32()), ("sha256", pa.string())]
_NOTES = ("notes", pa.list_(pa.string()))
_YOUNGER = ("notes", "modified", "prompts", "address", "candidates")  # than some files, which are read all the same

PLAN_SCHEMA = pa.schema(
    [("shard", pa.int32()), *_REF, ("size", pa.int64()), ("modified", pa.string()), ("prompts", GIVEN)]
)
"""One row a planned image; `size` and `modified` are null where the listing did not say, `prompts` where the image
carries none, and the last two in plans of version 0.1.0."""

ANNOTATION_SCHEMA = pa.schema(
    [
        *_REF,
        ("status", pa.string()),
        ("error", _ERROR),
        *_DECODED,
        ("masks", pa.large_list(_MASK)),
        _NOTES,
        ("prompts", pa.large_list(RESULT)),
    ]
)
"""One row an image. `masks` is never null: an empty or failed image has an empty list. `notes` and `prompts` are null
where there are none, and in the parts of version 0.1.0, which have no such columns."""

_CANDIDATES = pa.field("candidates", pa.large_list(pa.struct([*_MASK, ("layer", pa.int32())])))

CANDIDATE_SCHEMA = ANNOTATION_SCHEMA.append(_CANDIDATES)
"""The same rows with what their masks were chosen from, where a job keeps it: null in images that failed or were
segmented by prompts."""

LOADED_SCHEMA = pa.schema(
    [
        *_REF,
        ("size", pa.int64()),
        *_DECODED,
        ("data", pa.large_binary()),
        ("views", pa.large_list(_VIEW)),
        ("error", _ERROR),
        _NOTES,
        ("prompts", pa.large_list(PROMPT)),
    ]
)
"""One row an image on its way to an engine; where `error` is not null there is nothing to segment."""

SEGMENTED_SCHEMA = CANDIDATE_SCHEMA.append(pa.field("data", pa.large_binary()))
"""One annotation row an image, and its encoded bytes for whoever draws on them."""


def refs(table: pa.Table) -> list[ImageRef]:
    """The images of any of these tables, with their prompts: in a plan as their source gives them."""
    names = [name for name in ("image_id", "key", "uri", "size", "prompts") if name in table.column_names]
    return [_ref(row) for row in _rows(table, names)]


def plan_row(ref: ImageRef) -> pa.Table:
    """An image as a plan's row, in shard 0; its prompts are those of the decoded image's frame."""
    prompts = None if ref.prompts is None else {"normalised": False, "objects": list(map(prompt_to_row, ref.prompts))}
    return pa.Table.from_pylist([{**_ref_row(ref), "shard": 0, "prompts": prompts}], PLAN_SCHEMA)


def results_to_table(
    results: Iterable[ImageResult], metadata: Mapping[str, str], *, candidates: bool = False
) -> pa.Table:
    """Make the annotation table, one row a result, in the given order; with the column of candidates or without."""
    schema = CANDIDATE_SCHEMA if candidates else ANNOTATION_SCHEMA
    return _table(map(_result_row, results), schema, {**metadata, _VERSION_KEY: str(VERSION)})


def table_to_results(table: pa.Table) -> list[ImageResult]:
    """Read back what `results_to_table` was given.

    Not stored are sizes (`ref.size` comes back as None), more digits of scores than float32 has, a prompt's mask and
    logits, and of a mask's own prompt all but its points and its name: they come back as foreground, as those of
    everything mode are.
    """
    names = [name for name in CANDIDATE_SCHEMA.names if name in table.column_names]
    return [_result(row) for row in _rows(table, names)]


def loaded_to_table(images: Iterable[LoadedImage | ImageResult]) -> pa.Table:
    """Make the table between loading and segmenting; a result stands for an image that failed to load."""
    return _table(map(_loaded_row, images), LOADED_SCHEMA, {})


def table_to_loaded(table: pa.Table) -> list[LoadedImage | ImageResult]:
    """Read back what `loaded_to_table` was given.

    The pixels of the views are windows on the table's memory: not copied, and not to be written to.
    """
    rows = _rows(table, [name for name in LOADED_SCHEMA.names if name != "views"])
    return [_loaded(row, _views(views.values)) for row, views in zip(rows, table.column("views"), strict=True)]


def segmented_to_table(pairs: Iterable[tuple[ImageResult, bytes]]) -> pa.Table:
    """Make the table between segmenting and writing, from results and the images' encoded bytes."""
    rows = ({**_result_row(result), "data": data} for result, data in pairs)
    return _table(rows, SEGMENTED_SCHEMA, {})


def table_to_segmented(table: pa.Table) -> list[tuple[ImageResult, bytes]]:
    """Read back what `segmented_to_table` was given, with `table_to_results`' exceptions."""
    return [(_result(row), row["data"]) for row in _rows(table, SEGMENTED_SCHEMA.names)]


def part_bytes(table: pa.Table) -> bytes:
    """Encode a table as Parquet: the same rows and metadata give the same bytes, however the table was put together."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def read_part(data: bytes, schema: pa.Schema = ANNOTATION_SCHEMA) -> pa.Table:
    """Decode what `part_bytes` made of a table of this schema; columns that are younger than the part are null.

    Candidates, which take most of a part, are decoded only where the schema has them.

    Raises:
        StorageError: The bytes are damaged, hold other columns, or were written by a newer version of this package.
    """
    with _undamaged():
        file = pq.ParquetFile(pa.BufferReader(data))
        unasked = {_CANDIDATES.name} - {*schema.names}
        table = file.read([name for name in file.schema_arrow.names if name not in unasked])
    version = (table.schema.metadata or {}).get(_VERSION_KEY.encode(), b"1").decode()
    if version.isdecimal() and int(version) > VERSION:
        raise StorageError(f"was written by a newer sam-batch: its schema is {version}, this one reads up to {VERSION}")
    return _of_schema(table, schema)


def read_blocks(data: bytes, schema: pa.Schema, rows: int) -> tuple[Iterator[pa.Table], dict[bytes, bytes]]:
    """The same for long tables: the metadata at once, then so many rows at a time.

    Raises:
        StorageError: Likewise; also on the way.
    """
    with _undamaged():
        file = pq.ParquetFile(pa.BufferReader(data))
    _of_schema(file.schema_arrow.empty_table(), schema)
    return _blocks(file, schema, rows), file.schema_arrow.metadata or {}


def _blocks(file: pq.ParquetFile, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    with _undamaged():
        for batch in file.iter_batches(rows):
            yield _of_schema(pa.Table.from_batches([batch]), schema).replace_schema_metadata(None)


@contextmanager
def _undamaged() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise StorageError(f"damaged Parquet: {' '.join(str(error).split())}") from error


def _of_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    for field in (schema.field(name) for name in _YOUNGER if name in schema.names):
        if field.name not in table.column_names:
            table = table.append_column(field, nulls(table.num_rows, field.type))
    if set(table.column_names) == set(schema.names):
        table = table.select(schema.names)
    if not table.schema.equals(schema):
        raise StorageError(f"not a part of this job: it has the columns {', '.join(table.column_names)}")
    return table


def nulls(count: int, type_: pa.DataType) -> pa.Array:
    """A column without values, of which some rows weigh little.

    Below lists the columns of `pa.nulls` have no rows, but buffers for all: the stream of one shard took 700 kB.
    """
    return pa.array([None] * count, type_)


def part_metadata(table: pa.Table) -> dict[str, str]:
    """Read back the metadata a table was made with."""
    metadata = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    metadata.pop(_VERSION_KEY, None)
    return metadata


def _table(rows: Iterable[_Row], schema: pa.Schema, metadata: Mapping[str, str]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema.with_metadata(dict(sorted(metadata.items())) or None))


def _rows(table: pa.Table, names: Sequence[str]) -> list[_Row]:
    rows: list[_Row] = table.select(names).to_pylist()
    return rows


def _ref_row(ref: ImageRef) -> _Row:
    return {"image_id": ref.image_id, "key": ref.key, "uri": ref.uri}


def _ref(row: _Row) -> ImageRef:
    prompts = row["prompts"]["objects"] if isinstance(row["prompts"], dict) else row["prompts"]
    asked = None if prompts is None else tuple(map(row_to_prompt, prompts))
    return ImageRef(row["image_id"], row["key"], row["uri"], row.get("size"), asked)


def _failure_row(failure: Failure | None) -> _Row | None:
    if failure is None:
        return None
    # Messages quote what others wrote, and Arrow refuses text that is not UTF-8.
    message = failure.message.encode(errors="backslashreplace").decode()
    return {"stage": failure.stage, "kind": failure.kind, "message": message}


def _failure(row: _Row | None) -> Failure | None:
    return None if row is None else Failure(Stage(row["stage"]), FailureKind(row["kind"]), row["message"])


def _result_row(result: ImageResult) -> _Row:
    return {
        **_ref_row(result.ref),
        "status": result.status,
        "error": _failure_row(result.failure),
        "height": result.height,
        "width": result.width,
        "sha256": result.sha256,
        "masks": [_mask_row(annotation) for annotation in result.annotations],
        "notes": list(result.notes) or None,
        "prompts": [result_to_row(prompt) for prompt in result.prompts] or None,
        "candidates": None if result.candidates is None else list(map(_candidate_row, result.candidates)),
    }


def _result(row: _Row) -> ImageResult:
    return ImageResult(
        ref=_ref(row),
        status=Status(row["status"]),
        height=row["height"],
        width=row["width"],
        sha256=row["sha256"],
        annotations=tuple(_annotation(mask) for mask in row["masks"]),
        failure=_failure(row["error"]),
        notes=_notes(row),
        prompts=tuple(map(row_to_result, row["prompts"] or ())),
        candidates=None if row.get("candidates") is None else tuple(map(_candidate, row["candidates"])),
    )


def _notes(row: _Row) -> tuple[PixelNote, ...]:
    return tuple(map(PixelNote, row["notes"] or ()))


def _mask_row(annotation: Annotation) -> _Row:
    prompt = annotation.prompt
    row = {name: getattr(annotation, name) for name in _MASK.names if name not in _OF_PROMPT}
    return {**row, "point_coords": prompt.points, "prompt_id": prompt.prompt_id}


def _annotation(row: _Row) -> Annotation:
    points = tuple((x, y) for x, y in row["point_coords"])
    prompt = Prompt(points, labels=(1,) * len(points), prompt_id=row["prompt_id"])
    boxes = {name: tuple(row[name]) for name in ("bbox", "crop_box")}
    return Annotation(**{name: row[name] for name in row if name not in _OF_PROMPT} | boxes, prompt=prompt)


def _candidate_row(candidate: StoredCandidate) -> _Row:
    return {**_mask_row(candidate.mask), "layer": candidate.layer}


def _candidate(row: _Row) -> StoredCandidate:
    layer = row.pop("layer")
    return StoredCandidate(_annotation(row), layer)


def _loaded_row(image: LoadedImage | ImageResult) -> _Row:
    row = {
        **_ref_row(image.ref),
        "size": image.ref.size,
        "height": image.height,
        "width": image.width,
        "sha256": image.sha256,
        "notes": list(image.notes) or None,
    }
    if isinstance(image, ImageResult):
        prompts = [prompt_to_row(result.prompt) for result in image.prompts] or None
        return {**row, "data": b"", "views": [], "error": _failure_row(image.failure), "prompts": prompts}
    return {
        **row,
        "data": image.data,
        "views": [_view_row(view) for view in image.views],
        "error": None,
        "prompts": None if image.prompts is None else list(map(prompt_to_row, image.prompts)),
    }


def _loaded(row: _Row, views: tuple[View, ...]) -> LoadedImage | ImageResult:
    about: dict[str, Any] = {name: row[name] for name in ("height", "width", "sha256")}
    about["notes"] = _notes(row)
    failure = _failure(row["error"])
    ref = _ref(row)
    if failure is not None:
        return ImageResult.failed(ref, failure, **about)
    return LoadedImage(ref=ref, data=row["data"], views=views, prompts=ref.prompts, **about)


def _view_row(view: View) -> _Row:
    height, width, _ = view.pixels.shape
    pixels = np.ascontiguousarray(view.pixels).data.cast("B")
    return {"box": view.box, "height": height, "width": width, "pixels": pixels, "layer": view.layer}


def _views(structs: pa.StructArray) -> tuple[View, ...]:
    names = ("box", "height", "width", "layer")
    boxes, heights, widths, layers = (structs.field(name).to_pylist() for name in names)
    windows = _windows(structs.field("pixels"))
    return tuple(
        View(tuple(box), pixels.reshape(height, width, 3), layer)
        for box, height, width, layer, pixels in zip(boxes, heights, widths, layers, windows, strict=True)
    )


def _windows(values: pa.LargeBinaryArray) -> list[UInt8Array]:
    """Give each value as a window on the array's memory; Arrow's own scalars would copy it."""
    if len(values) == 0:
        return []
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    memory = np.frombuffer(data, np.uint8)
    return [memory[start:stop] for start, stop in pairwise(bounds)]
