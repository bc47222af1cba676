"""Filters for rows that are there already: what a mask, its scores and its neighbours tell without the image.

With `pred_iou_thresh` alone a row becomes that of a run with it, if no crop and no region clean-up took part: every
suppression then compares by predicted IoU, so what the threshold drops had dropped nothing better. With
`stability_score_thresh` it may not: a mask that is dropped now had suppressed others, and those are gone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

import numpy as np

from sam_batch.config import GeneratorConfig, MaskArea
from sam_batch.masks import rle
from sam_batch.masks.patch import Patch
from sam_batch.records import Annotation, ImageResult, PromptResult, Status
from sam_batch.segment.filters import apply_filters, passes_scores, to_pixels

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


def thin(result: ImageResult, thinning: Thinning) -> ImageResult:
    """The row with what stays, numbered anew; a prompt is empty once none of its masks is left."""
    size_hw = (result.height, result.width)
    thresholds = thinning.pred_iou_thresh, thinning.stability_score_thresh
    kept = [one for one in result.annotations if passes_scores(one.predicted_iou, one.stability_score, *thresholds)]
    settings = asdict(thinning)
    kept = apply_filters(kept, size_hw, GeneratorConfig(**{name: settings[name] for name in _AS_IN_A_JOB}))
    if thinning.one_owner:
        kept = _with_one_owner(kept, size_hw, max(to_pixels(thinning.min_mask_area or 1, size_hw), 1))
    lost = {one.prompt.prompt_id for one in result.annotations} - {one.prompt.prompt_id for one in kept}
    return replace(
        result,
        status=Status.EMPTY if result.status == Status.OK and not kept else result.status,
        annotations=tuple(kept),
        prompts=tuple(_emptied(one) if one.prompt.prompt_id in lost else one for one in result.prompts),
    )


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
