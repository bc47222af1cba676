"""Masks on their way to becoming annotations, and what drops or changes them once all of them are known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sam_batch.masks import rle
from sam_batch.masks.geometry import near_crop_edge
from sam_batch.masks.grids import Box
from sam_batch.masks.nms import box_nms
from sam_batch.masks.patch import Patch
from sam_batch.masks.regions import drop_islands, fill_holes
from sam_batch.records import Annotation

Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mask that passed the thresholds.

    Attributes:
        mask: In the image's frame.
        predicted_iou: The model's own estimate.
        stability: 0 to 1.
        point: The prompt, (x, y) in the image.
        crop: xyxy of the crop it was found in, in the image.
    """

    mask: Patch
    predicted_iou: float
    stability: float
    point: tuple[float, float]
    crop: Box


def drop_cut_off(candidates: Iterable[Candidate], image_hw: Size) -> list[Candidate]:
    """Drop masks that end at an edge of their crop that is no edge of the image."""
    return [one for one in candidates if not near_crop_edge(one.mask.box, one.crop, image_hw)]


def suppress_within_crop(candidates: Sequence[Candidate], iou_thresh: float) -> list[Candidate]:
    """Of masks with nearly the same box keep the one with the best predicted IoU; best first."""
    return _suppress(candidates, [one.predicted_iou for one in candidates], iou_thresh)


def suppress_between_crops(candidates: Sequence[Candidate], iou_thresh: float) -> list[Candidate]:
    """Of masks with nearly the same box keep the one from the smallest crop; small crops first."""
    areas = ((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one.crop for one in candidates))
    return _suppress(candidates, [1 / area for area in areas], iou_thresh)


def clean_regions(candidates: Sequence[Candidate], image_hw: Size, min_area: int, iou_thresh: float) -> list[Candidate]:
    """Fill small holes and drop small islands, then suppress the duplicates that this made.

    Masks that had none win, and come first. segment-anything's `postprocess_small_regions`.
    """
    cleaned = [_clean(one, image_hw, min_area) for one in candidates]
    unchanged = [float(new is old) for new, old in zip(cleaned, candidates, strict=True)]
    return _suppress(cleaned, unchanged, iou_thresh)


def annotate(candidates: Sequence[Candidate], image_hw: Size) -> list[Annotation]:
    """Encode the masks and number them; a mask without a pixel is no annotation."""
    found = [one for one in candidates if any(one.mask.bits)]
    return [_annotation(mask_id, one, image_hw) for mask_id, one in enumerate(found)]


def _suppress(candidates: Sequence[Candidate], scores: Sequence[float], iou_thresh: float) -> list[Candidate]:
    return [candidates[i] for i in box_nms([one.mask.box for one in candidates], scores, iou_thresh)]


def _clean(candidate: Candidate, image_hw: Size, min_area: int) -> Candidate:
    """The candidate without small holes and islands; itself, if it had none."""
    before_HW = candidate.mask.unpack(*image_hw)
    after_HW = drop_islands(fill_holes(before_HW, min_area), min_area)
    return candidate if after_HW is before_HW else replace(candidate, mask=Patch.of(after_HW))


def _annotation(mask_id: int, candidate: Candidate, image_hw: Size) -> Annotation:
    counts = rle.encode_patch(candidate.mask, *image_hw)
    x0, y0, x1, y1 = map(float, candidate.crop)
    return Annotation(
        mask_id=mask_id,
        bbox=rle.bbox(counts, *image_hw),
        area=rle.area(counts, *image_hw),
        predicted_iou=candidate.predicted_iou,
        stability_score=candidate.stability,
        point_coords=(candidate.point,),
        crop_box=(x0, y0, x1 - x0, y1 - y0),
        prompt_id=None,
        counts=counts,
    )
