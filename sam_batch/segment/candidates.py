"""Masks on their way to becoming annotations, and what drops or changes them once all of them are known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sam_batch.masks import rle
from sam_batch.masks.geometry import near_crop_edge
from sam_batch.masks.grids import Box
from sam_batch.masks.nms import box_nms
from sam_batch.masks.patch import Mask, Patch
from sam_batch.masks.regions import drop_islands, fill_holes
from sam_batch.records import Annotation, Prompt

Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mask that passed the thresholds.

    Attributes:
        mask: In the image's frame.
        predicted_iou: The model's own estimate.
        stability: 0 to 1.
        prompt: What it was found with.
        crop: xyxy of the crop it was found in, in the image.
        layer: Of that crop; in an image of few pixels crops of two layers may be the same.
    """

    mask: Mask
    predicted_iou: float
    stability: float
    prompt: Prompt
    crop: Box
    layer: int = 0


def drop_cut_off(candidates: Iterable[Candidate], image_hw: Size) -> list[Candidate]:
    """Drop masks that end at an edge of their crop that is no edge of the image."""
    return [candidate for candidate in candidates if not near_crop_edge(candidate.mask.box, candidate.crop, image_hw)]


def suppress_within_crop(candidates: Sequence[Candidate], iou_thresh: float) -> list[Candidate]:
    """Of masks with nearly the same box keep the one with the best predicted IoU; best first."""
    return _suppress(candidates, [candidate.predicted_iou for candidate in candidates], iou_thresh)


def suppress_between_crops(candidates: Sequence[Candidate], iou_thresh: float) -> list[Candidate]:
    """Of masks with nearly the same box keep the one from the smallest crop; small crops first."""
    crops = [candidate.crop for candidate in candidates]
    return _suppress(candidates, [1 / ((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in crops], iou_thresh)


def clean_regions(candidates: Sequence[Candidate], image_hw: Size, min_area: int, iou_thresh: float) -> list[Candidate]:
    """Fill small holes and drop small islands, then suppress the duplicates that this made.

    Masks that had none win, and come first. segment-anything's `postprocess_small_regions`.
    """
    cleaned = [_clean(candidate, image_hw, min_area) for candidate in candidates]
    unchanged = [float(new is old) for new, old in zip(cleaned, candidates, strict=True)]
    return _suppress(cleaned, unchanged, iou_thresh)


def annotate(candidates: Iterable[Candidate], image_hw: Size, *, keep_empty: bool = False) -> list[Annotation]:
    """Encode the masks and number them; a mask without a pixel is no annotation, unless they are kept."""
    kept = [candidate for candidate in candidates if keep_empty or not candidate.mask.is_empty]
    return [_annotation(mask_id, candidate, image_hw) for mask_id, candidate in enumerate(kept)]


def _suppress(candidates: Sequence[Candidate], scores: Sequence[float], iou_thresh: float) -> list[Candidate]:
    boxes = [candidate.mask.box for candidate in candidates]
    return _without_equal_lines([candidates[i] for i in box_nms(boxes, scores, iou_thresh)])


def _without_equal_lines(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Keep the first of equal masks that are one pixel wide or high: boxes without an area suppress nothing, at 0/0."""
    kept, lines = list[Candidate](), set[tuple[Box, bytes]]()
    for candidate in candidates:
        x0, y0, x1, y1 = candidate.mask.box
        if x0 < x1 and y0 < y1:
            kept.append(candidate)
        elif (line := (candidate.mask.box, candidate.mask.bits)) not in lines:
            lines.add(line)
            kept.append(candidate)
    return kept


def _clean(candidate: Candidate, image_hw: Size, min_area: int) -> Candidate:
    """The candidate without small holes and islands; itself, if it had none."""
    before_HW = candidate.mask.unpack(*image_hw)
    after_HW = drop_islands(fill_holes(before_HW, min_area), min_area)
    return candidate if after_HW is before_HW else replace(candidate, mask=Patch.of(after_HW))


def _annotation(mask_id: int, candidate: Candidate, image_hw: Size) -> Annotation:
    counts = rle.encode(candidate.mask, *image_hw)
    x0, y0, x1, y1 = map(float, candidate.crop)
    return Annotation(
        mask_id=mask_id,
        bbox=rle.bbox(counts, *image_hw),
        area=rle.area(counts, *image_hw),
        predicted_iou=candidate.predicted_iou,
        stability_score=candidate.stability,
        prompt=candidate.prompt,
        crop_box=(x0, y0, x1 - x0, y1 - y0),
        counts=counts,
    )
