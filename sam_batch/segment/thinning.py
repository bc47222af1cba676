"""Filters for rows that are there already: what a mask, its scores and its neighbours tell without the image.

Of a row that keeps its candidates, the masks are chosen again from these, by the steps of a run: they are those of a
run with these settings. Of another row, with `pred_iou_thresh` alone, they are if no crop and no region clean-up took
part: every suppression then compares by predicted IoU, so what the threshold drops had dropped nothing better. With
`stability_score_thresh` they may not be: a mask that is dropped now had suppressed others, and those are gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np

from sam_batch.config import GeneratorConfig, MaskArea
from sam_batch.masks import rle
from sam_batch.masks.patch import Patch
from sam_batch.records import Annotation, ImageResult, PromptResult, Status, StoredCandidate
from sam_batch.segment.everything import find_again, to_annotations
from sam_batch.segment.filters import apply_filters, passes_scores, to_pixels
from sam_batch.segment.stored import from_stored

_AS_IN_A_JOB: Final = (
    *("min_mask_area", "max_mask_area", "max_mask_region_area"),
    *("mask_nms_thresh", "containment_thresh", "max_masks_per_image"),
)


@dataclass(frozen=True, slots=True)
class Thinning:
    """What stays. Names that `generator` has, too, mean what they mean there; each is off by default.

    Attributes:
        pred_iou_thresh: Masks with a lower predicted IoU are dropped.
        stability_score_thresh: Masks with a lower stability are dropped.
        box_nms_thresh: Box IoU above which the worse of two masks of a crop is dropped; of stored candidates alone.
        crop_nms_thresh: The same between crops; likewise.
        min_mask_region_area: Holes and islands of fewer pixels are filled and dropped; likewise.
        min_mask_area: Masks with fewer pixels are dropped: 400, or 0.1% of the image's.
        max_mask_area: Masks with more are.
        max_mask_region_area: Likewise, for pixels only; 0 is off.
        mask_nms_thresh: Mask IoU above which the worse of two masks is dropped.
        containment_thresh: A mask of which at least this share lies in a better one is dropped.
        max_masks_per_image: The best so many stay.
        one_owner: Give each pixel to the smallest of the masks over it, of equal ones the first; what is then left of
            a mask must have `min_mask_area` pixels still, and one at least.
    """

    pred_iou_thresh: float = 0.0
    stability_score_thresh: float = 0.0
    box_nms_thresh: float | None = None
    crop_nms_thresh: float | None = None
    min_mask_region_area: int | None = None
    min_mask_area: MaskArea | None = None
    max_mask_area: MaskArea | None = None
    max_mask_region_area: int = 0
    mask_nms_thresh: float | None = None
    containment_thresh: float | None = None
    max_masks_per_image: int | None = None
    one_owner: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Those that are on."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}

    @property
    def generator(self) -> dict[str, Any]:
        """Those of them that are settings of `generator`."""
        return {name: value for name, value in self.settings.items() if name in GeneratorConfig.model_fields}


def thin(result: ImageResult, thinning: Thinning, generator: GeneratorConfig) -> ImageResult:
    """The row with what stays, numbered anew; a prompt is empty once none of its masks is left.

    Args:
        result: Of an image.
        thinning: What stays.
        generator: What its masks were found with, which counts where it keeps its candidates.
    """
    size_hw = (result.height, result.width)
    if result.candidates is None:
        kept, candidates = _of_the_kept(result.annotations, size_hw, thinning), None
    else:
        settings = GeneratorConfig.model_validate(generator.model_dump() | thinning.generator)
        kept = to_annotations(find_again(from_stored(result.candidates, size_hw), settings), size_hw, settings)
        candidates = _candidates_of(result.candidates, thinning)
    if thinning.one_owner:
        candidates = None  # a mask without the pixels of others cannot be chosen from them
        kept = _with_one_owner(kept, size_hw, max(to_pixels(thinning.min_mask_area or 1, size_hw), 1))
    lost = {one.prompt.prompt_id for one in result.annotations} - {one.prompt.prompt_id for one in kept}
    return replace(
        result,
        status=result.status if result.status == Status.FAILED else Status.OK if kept else Status.EMPTY,
        annotations=tuple(kept),
        candidates=candidates,
        prompts=tuple(_emptied(one) if one.prompt.prompt_id in lost else one for one in result.prompts),
    )


def _of_the_kept(annotations: Sequence[Annotation], size_hw: tuple[int, int], thinning: Thinning) -> list[Annotation]:
    passed = [mask for mask in annotations if _passes(mask, thinning)]
    settings = {name: getattr(thinning, name) for name in _AS_IN_A_JOB}
    return apply_filters(passed, size_hw, GeneratorConfig(**settings))


def _candidates_of(candidates: Sequence[StoredCandidate], thinning: Thinning) -> tuple[StoredCandidate, ...]:
    """Those that a run with these thresholds keeps, numbered anew."""
    passed = [candidate for candidate in candidates if _passes(candidate.mask, thinning)]
    return tuple(replace(one, mask=replace(one.mask, mask_id=place)) for place, one in enumerate(passed))


def _passes(mask: Annotation, thinning: Thinning) -> bool:
    thresholds = thinning.pred_iou_thresh, thinning.stability_score_thresh
    return passes_scores(mask.predicted_iou, mask.stability_score, *thresholds)


def _emptied(result: PromptResult) -> PromptResult:
    return replace(result, status=Status.EMPTY)


def _with_one_owner(annotations: Sequence[Annotation], size_hw: tuple[int, int], min_area: float) -> list[Annotation]:
    free_HW = np.ones(size_hw, dtype=bool)
    left = {}
    for one in sorted(annotations, key=lambda one: (one.area, one.mask_id)):
        mask_HW = rle.decode(one.counts, *size_hw) & free_HW
        free_HW &= ~mask_HW
        area = int(mask_HW.sum())
        if area >= min_area:
            counts = rle.encode_patch(Patch.of(np.ascontiguousarray(mask_HW)), *size_hw)
            left[one.mask_id] = replace(one, area=area, counts=counts, bbox=rle.bbox(counts, *size_hw))
    return [replace(left[mask_id], mask_id=place) for place, mask_id in enumerate(sorted(left))]
