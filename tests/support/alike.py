"""Annotations of two programs that compute the same numbers, but round them differently.

Rounding may move a mask across a threshold, swap two masks of equal rank, or put a pixel on the other side of a mask's
edge, and nothing else. Each such difference must be explained by a number that is nearly a tie.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from sam_batch.config import GeneratorConfig
from sam_batch.masks import rle
from sam_batch.records import Annotation, UInt8Array
from support.reference import mended

SCORE = 1e-4  # how far rounding moves a score
LOGIT = 1e-3  # and a mask logit

Annotations = Sequence[Annotation]


def assert_alike(
    ours: Annotations, theirs: Annotations, image: UInt8Array, sam: Sam, generator: GeneratorConfig
) -> int:
    """The same masks in the same order, but for ties.

    Args:
        ours: What this package found.
        theirs: What the reference found.
        image: Where.
        sam: The reference's model.
        generator: The settings of both.

    Returns:
        How many masks both have.
    """
    pairs = pair(ours, theirs)
    for own, other in pairs:
        _assert_same_mask(own, other, image, sam)
    for (own, other), (next_, after) in pairwise(pairs):
        assert other.mask_id < after.mask_id or abs(own.predicted_iou - next_.predicted_iou) < SCORE, "another order"
    lone_ours = [one for one in ours if all(one is not own for own, _ in pairs)]
    lone_theirs = [one for one in theirs if all(one is not other for _, other in pairs)]
    assert all(_is_tie(one, generator) for one in lone_ours), f"only ours: {lone_ours}"
    assert all(_is_tie(one, generator) for one in lone_theirs), f"only theirs: {lone_theirs}"
    return len(pairs)


def pair(ours: Annotations, theirs: Annotations) -> list[tuple[Annotation, Annotation]]:
    """Masks of the same prompt and the same predicted IoU, one to one; among several, the same mask."""
    free = list(theirs)
    pairs = []
    for own in ours:
        near = [one for one in free if _same_prompt(own, one)]
        if near:
            other = min(near, key=lambda one: (one.counts != own.counts, abs(one.predicted_iou - own.predicted_iou)))
            free.remove(other)
            pairs.append((own, other))
    return pairs


def _same_prompt(own: Annotation, other: Annotation) -> bool:
    same_place = (own.prompt, own.crop_box) == (other.prompt, other.crop_box)
    return same_place and abs(own.predicted_iou - other.predicted_iou) < SCORE


def _assert_same_mask(own: Annotation, other: Annotation, image: UInt8Array, sam: Sam) -> None:
    if own.counts == other.counts:
        assert (own.area, own.bbox) == (other.area, other.bbox)
    else:
        assert np.abs(_logits_where_different(sam, image, own, other)).max() < LOGIT, "the masks differ"
    pixels = 2 / min(own.area, other.area)  # that lie at one of the two edges stability looks at
    assert abs(own.stability_score - other.stability_score) < SCORE + pixels


def _logits_where_different(sam: Sam, image: UInt8Array, own: Annotation, other: Annotation) -> np.ndarray:
    """The reference's logits at the pixels that only one of two masks has."""
    height, width = image.shape[:2]
    x, y, crop_w, crop_h = map(int, own.crop_box)
    predictor = SamPredictor(sam)
    with mended():
        predictor.set_image(image[y : y + crop_h, x : x + crop_w])
        logits, iou, _ = predictor.predict(np.array(own.prompt.points) - (x, y), np.array([1]), return_logits=True)
    full = np.full((height, width), np.inf)
    full[y : y + crop_h, x : x + crop_w] = logits[np.abs(iou - own.predicted_iou).argmin()]
    return full[rle.decode(own.counts, height, width) != rle.decode(other.counts, height, width)]


def _is_tie(one: Annotation, generator: GeneratorConfig) -> bool:
    """Whether a mask may be in one list alone."""
    to_iou = abs(one.predicted_iou - generator.pred_iou_thresh)
    to_stability = abs(one.stability_score - generator.stability_score_thresh)
    return to_iou < SCORE or to_stability < SCORE
