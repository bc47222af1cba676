"""Results to test with: real masks as annotations, and anything the records allow."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from pycocotools import mask as coco_mask

from sam_batch.records import (
    Annotation,
    Failure,
    FailureKind,
    ImageRef,
    ImageResult,
    LoadedImage,
    PixelNote,
    Prompt,
    PromptFailure,
    PromptFailureKind,
    PromptResult,
    Stage,
    Status,
    View,
)


def annotation_of(mask_HW: np.ndarray, mask_id: int, prompt_id: str | None = None) -> Annotation:
    """The annotation of a non-empty boolean mask."""
    height, width = mask_HW.shape
    rle = coco_mask.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return Annotation(
        mask_id=mask_id,
        bbox=tuple(float(side) for side in coco_mask.toBbox(rle)),
        area=int(coco_mask.area(rle)),
        predicted_iou=0.5,
        stability_score=0.75,
        prompt=Prompt(points=((1.5, 2.0),), labels=(1,), prompt_id=prompt_id),
        crop_box=(0.0, 0.0, float(width), float(height)),
        counts=rle["counts"].decode("ascii"),
    )


def result_of(key: str, masks: list[np.ndarray], image_id: int = 0, size: tuple[int, int] = (0, 0)) -> ImageResult:
    """The result of an image with these (H, W) masks; `size` where there are none."""
    height, width = masks[0].shape if masks else size
    return ImageResult(
        ref=ImageRef(image_id, key, f"file:///photos/{key}"),
        status=Status.OK if masks else Status.EMPTY,
        height=height,
        width=width,
        sha256="0" * 64,
        annotations=tuple(annotation_of(mask, index) for index, mask in enumerate(masks)),
    )


def failed(key: str, image_id: int = 0) -> ImageResult:
    """The result of an image that could not be read."""
    ref = ImageRef(image_id, key, f"file:///photos/{key}")
    return ImageResult.failed(ref, Failure(Stage.LOAD, FailureKind.TRUNCATED, "JPEG: image file is truncated"))


def random_masks(height: int, width: int, count: int, seed: int = 0) -> list[np.ndarray]:
    """Overlapping (H, W) boolean ellipses of all sizes, some of them of one pixel, none empty."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    masks = []
    for _ in range(count):
        centre_y, centre_x = draw.integers(height), draw.integers(width)
        radius_y, radius_x = draw.uniform(0.5, 0.4 * height + 1), draw.uniform(0.5, 0.4 * width + 1)
        masks.append(((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 <= 1)
    return masks


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_SIDES = st.integers(0, 2**31 - 1)
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_BOXES = st.tuples(_NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS)
_SCORES = st.floats(0, 1, width=32)
_SHAS = st.just("") | st.text("0123456789abcdef", min_size=64, max_size=64)

failures = st.builds(Failure, st.sampled_from(Stage), st.sampled_from(FailureKind), TEXT)
notes = st.lists(st.sampled_from(PixelNote), unique=True).map(tuple)
refs = st.builds(ImageRef, st.integers(0, 2**63 - 1), TEXT, TEXT, st.none() | st.integers(0, 2**63 - 1))
_POINTS = st.lists(st.tuples(_NUMBERS, _NUMBERS), max_size=3).map(tuple)
_LABELLED = st.lists(st.tuples(st.tuples(_NUMBERS, _NUMBERS), st.integers(-1, 1)), max_size=3)
_FAULTS = st.builds(PromptFailure, st.sampled_from(PromptFailureKind), TEXT)
_INTEGERS = st.integers(-(2**63), 2**63 - 1)


def _asked(labelled, **parts):
    return Prompt(tuple(point for point, _ in labelled), tuple(label for _, label in labelled), **parts)


_PARTS = {
    "labelled": _LABELLED,
    "box": st.none() | _BOXES,
    "prompt_id": st.none() | TEXT,
    "category_id": st.none() | _INTEGERS,
    "category": st.none() | TEXT,
    "attributes": st.sampled_from(["", '{"a":1}']),
}
prompts = st.builds(
    _asked,
    **_PARTS,
    mask=st.none() | TEXT,
    logits=st.none() | st.binary(max_size=8),
    fault=st.none() | _FAULTS,
)
_ENDED = st.tuples(st.sampled_from([Status.OK, Status.EMPTY]), st.none()) | st.tuples(st.just(Status.FAILED), _FAULTS)
prompt_results = st.builds(lambda prompt, ended: PromptResult(prompt, *ended), st.builds(_asked, **_PARTS), _ENDED)
_PROMPTS = st.builds(
    lambda points, prompt_id: Prompt(points, (1,) * len(points), prompt_id=prompt_id), _POINTS, st.none() | TEXT
)
annotations = st.builds(
    Annotation,
    mask_id=st.integers(0, 2**31 - 1),
    bbox=_BOXES,
    area=st.integers(0, 2**63 - 1),
    predicted_iou=_SCORES,
    stability_score=_SCORES,
    prompt=_PROMPTS,
    crop_box=_BOXES,
    counts=st.text("0123456789PQRab", max_size=30),
)
_ended_well = st.builds(
    ImageResult,
    ref=refs,
    status=st.sampled_from([Status.OK, Status.EMPTY]),
    height=_SIDES,
    width=_SIDES,
    sha256=_SHAS,
    annotations=st.lists(annotations, max_size=4).map(tuple),
    notes=notes,
    prompts=st.lists(prompt_results, max_size=3).map(tuple),
)
failed_results = st.builds(ImageResult.failed, ref=refs, failure=failures, sha256=_SHAS, notes=notes)
results = _ended_well | failed_results
_views = st.builds(
    View,
    box=st.tuples(*[st.integers(0, 2**31 - 1)] * 4),
    pixels=nps.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))),
    layer=st.integers(0, 4),
)
loaded_images = st.builds(
    LoadedImage,
    ref=refs,
    height=_SIDES,
    width=_SIDES,
    sha256=_SHAS,
    data=st.binary(max_size=30),
    views=st.lists(_views, max_size=3).map(tuple),
    notes=notes,
)
