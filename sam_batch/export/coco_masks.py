"""How COCO's files spell masks: column by column in Arrow, since an encoder takes several times as long.

It makes texts and writes none: files, images and what stands around both are `export.coco`'s.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sam_batch.export.coco_files import BETWEEN, ENCODER
from sam_batch.export.numbers import Numbers, shortest_float64
from sam_batch.masks.polygons import edge_outlines, run_lengths_of

_Row: TypeAlias = dict[str, Any]
_TEXT: Final = pa.large_string()
_NOTHING, _HALF = pa.scalar("", _TEXT), pa.scalar(".5", _TEXT)
_NUMBERS: Final = ("predicted_iou", "stability_score", "bbox", "crop_box")
_WRITTEN: Final = {
    *("id", "image_id", "category_id", "segmentation", "area", "iscrowd", "point_coords", "prompt_id", "prompt_box"),
    *_NUMBERS,
}


def json_of_masks(decoded: pa.Table, numbers: Numbers, spelling: str) -> Iterator[bytes]:
    """The masks of each image, as ASCII JSON with `BETWEEN` between them; nothing where there are none.

    Args:
        decoded: `output.schema.ANNOTATION_SCHEMA`, without failed images.
        numbers: Of images, masks and categories.
        spelling: One of `output.coco.segmentation`.

    Raises:
        JobError: An image has more masks than there are numbers.
        ValueError: A number is NaN or infinite, which JSON cannot say.
    """
    for rows in _batches(decoded):
        column = rows["masks"].combine_chunks()
        images = rows.select(["image_id", "key", "height", "width", "prompts"]).to_pylist()
        owners = [images[place] for place in pc.list_parent_indices(column).to_pylist()]
        if not owners:
            yield from [b""] * len(images)
            continue
        texts = _texts(pc.list_flatten(column), owners, numbers, spelling)
        _, offsets, data = texts.buffers()
        starts_N = np.frombuffer(offsets, np.int64)[texts.offset :][_starts_of(column)]
        for start, end in pairwise(starts_N.tolist()):
            yield data[start : end - len(BETWEEN)].to_pybytes() if start < end else b""


def _batches(rows: pa.Table, masks: int = 1000) -> Iterator[pa.Table]:
    """Images with about so many masks at a time: few enough for memory, and enough for Arrow."""
    full_N = _starts_of(rows["masks"])[1:] // masks
    cuts = (np.flatnonzero(np.diff(full_N)) + 1).tolist()
    for start, end in pairwise([0, *cuts, rows.num_rows]):
        if start < end:
            yield rows.slice(start, end - start)


def _starts(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each list begins in all of them, end to end; and where the last ends."""
    return np.append(0, np.cumsum(lengths, dtype=np.int64))


def _starts_of(lists: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    return _starts(pc.list_value_length(lists).to_numpy())


def _texts(masks: pa.StructArray, owners: Sequence[_Row], numbers: Numbers, spelling: str) -> pa.LargeStringArray:
    """Each mask, with `BETWEEN` behind it."""
    column = dict(zip(masks.type.names, masks.flatten(), strict=True))
    prompts = _prompts(column["prompt_id"], owners)
    mask_ids = column["mask_id"].to_pylist()
    asked = zip(owners, mask_ids, prompts, strict=True)
    ids = [numbers.annotation(image["image_id"], mask_id, prompt) for image, mask_id, prompt in asked]
    try:
        iou, stability = (_spell(shortest_float64(column[name])) for name in _NUMBERS[:2])
        bbox, crop_box, points = (_spell(column[name]) for name in ("bbox", "crop_box", "point_coords"))
    except ValueError as error:
        raise ValueError(f"{_first_unsayable(masks, owners)} has a number that JSON cannot say") from error
    scores = _join('"predicted_iou":', iou, ',"stability_score":', stability)
    own_scores, attributes, others = map(_text, zip(*map(_of_prompt, prompts), strict=True))
    return _join(
        *('{"id":', _spell(pa.array(ids, pa.int64()))),
        *(',"image_id":', _spell(pa.array([numbers.image(image["image_id"]) for image in owners], pa.int64()))),
        *(',"category_id":', _spell(pa.array(map(numbers.category, prompts), pa.int64()))),
        *(',"segmentation":', _SPELLINGS[spelling](column["counts"], owners), ',"area":', _spell(column["area"])),
        *(',"bbox":', bbox, ',"iscrowd":0,"score":', pc.coalesce(own_scores, iou)),
        *(',"attributes":{', attributes, scores, "},", scores),
        *(',"point_coords":', points, ',"crop_box":', crop_box, others, "}" + BETWEEN.decode()),
    )


def _prompts(names: pa.Array, owners: Sequence[_Row]) -> list[_Row | None]:
    """What was asked for each mask: of `prompts.arrow.RESULT`, or None for one of the grid."""
    asked = {
        (image["image_id"], prompt["prompt_id"]): prompt
        for image in {image["image_id"]: image for image in owners}.values()
        for prompt in image["prompts"] or ()
    }
    pairs = zip(owners, names.to_pylist(), strict=True)
    return [asked.get((image["image_id"], name)) for image, name in pairs] if asked else [None] * len(owners)


def _of_prompt(prompt: _Row | None) -> tuple[str | None, str, str]:
    """The score, attributes and further keys that a mask has of its prompt: of what its source says, and its own.

    None is no score in the source.
    """
    if prompt is None:
        return None, "", ""
    own = json.loads(prompt["attributes"] or "{}")
    score = ENCODER.encode(own.pop("score")) if "score" in own else None
    attributes = own.pop("attributes", None)
    attributes = attributes if isinstance(attributes, dict) else {}
    inner = {name: value for name, value in attributes.items() if name not in _NUMBERS}
    others = {name: value for name, value in own.items() if name not in _WRITTEN}
    others |= {"prompt_id": prompt["prompt_id"], "prompt_box": _xywh(prompt["box"])}
    return score, ENCODER.encode(inner)[1:-1] + "," * bool(inner), "," + ENCODER.encode(others)[1:-1]


def _xywh(box: Sequence[float] | None) -> list[float] | None:
    return None if box is None else [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _first_unsayable(masks: pa.StructArray, owners: Sequence[_Row]) -> str:
    for mask, image in zip(masks.to_pylist(), owners, strict=True):
        try:
            ENCODER.encode(mask)
        except ValueError:
            return f"{image['key']}: mask {mask['mask_id']}"
    return "a mask"


def _compressed(counts: pa.Array, owners: Sequence[_Row]) -> pa.Array:
    """Of the characters of run lengths a backslash is the only one that JSON has another use for."""
    return _join(_sizes(owners), ',"counts":"', pc.replace_substring(counts, "\\", "\\\\"), '"}')


def _plain(counts: pa.Array, owners: Sequence[_Row]) -> pa.Array:
    lengths = [run_lengths_of(one) for one in counts.to_pylist()]
    numbers = _spell(pa.array(np.concatenate(lengths)))
    return _join(_sizes(owners), ',"counts":', _bracket(numbers, _starts([len(one) for one in lengths])), "}")


def _sizes(owners: Sequence[_Row]) -> pa.Array:
    return _text(f'{{"size":[{image["height"]},{image["width"]}]' for image in owners)


def _polygons(counts: pa.Array, owners: Sequence[_Row]) -> pa.Array:
    """Exact, holes and parts included; whole numbers without a point behind them."""
    outlines = [edge_outlines(one, image["height"]) for one, image in zip(counts.to_pylist(), owners, strict=True)]
    halves = np.concatenate([points_n2.ravel() for points_n2, _ in outlines])
    numbers = _join(_spell(pa.array(halves >> 1)), pc.if_else(pa.array(halves & 1 == 1), _HALF, _NOTHING))
    of_rings = np.concatenate([np.diff(2 * ends_R, prepend=0) for _, ends_R in outlines])
    return _bracket(_bracket(numbers, _starts(of_rings)), _starts([len(ends_R) for _, ends_R in outlines]))


_SPELLINGS: Final[dict[str, Callable[[pa.Array, Sequence[_Row]], pa.Array]]] = {
    "rle": _compressed,
    "counts": _plain,
    "polygons": _polygons,
}


def _spell(values: pa.Array) -> pa.Array:
    """Numbers, or lists of them, as Python does.

    Raises:
        ValueError: One is NaN or infinite.
    """
    if pa.types.is_integer(values.type):
        return pc.cast(values, _TEXT)
    if not pa.types.is_floating(values.type):
        return _bracket(_spell(pc.list_flatten(values)), _starts_of(values), ", ")
    numbers_N = values.to_numpy()
    sizes_N = np.abs(numbers_N)
    if not np.isfinite(numbers_N).all():
        raise ValueError("NaN or infinite")
    if ((sizes_N >= 1e10) | ((sizes_N < 1e-4) & (sizes_N > 0))).any():  # Arrow spells these in other ways
        return _text(map(repr, numbers_N.tolist()))
    texts = pc.cast(values, _TEXT)
    return pc.if_else(pa.array(numbers_N == np.trunc(numbers_N)), _join(texts, ".0"), texts)


def _bracket(texts: pa.Array, starts: NDArray[np.int64], between: str = ",") -> pa.Array:
    lists = pa.LargeListArray.from_arrays(pa.array(starts), texts)
    return _join("[", pc.binary_join(lists, pa.scalar(between, _TEXT)), "]")


def _join(*texts: pa.Array | str) -> pa.Array:
    """Side by side; what is no array stands in every row."""
    columns = [pa.scalar(one, _TEXT) if isinstance(one, str) else one for one in texts]
    return pc.binary_join_element_wise(*columns, _NOTHING)


def _text(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), _TEXT)
