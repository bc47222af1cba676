"""Filters that segment-anything does not have.

They come last and change nothing they keep: off, they leave its records; on, a subset of them, in the same order.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sam_batch.config import GeneratorConfig, MaskArea
from sam_batch.masks.nms import drop_contained, mask_nms
from sam_batch.records import Annotation

_log = logging.getLogger(__name__)


def passes_scores(predicted_iou: float, stability: float, least_iou: float, least_stability: float) -> bool:
    """Whether a mask passes two thresholds as in an engine's tensors: in float32; at 0 any mask does."""
    is_good = least_iou == 0 or np.float32(predicted_iou) > np.float32(least_iou)
    return bool(is_good and (least_stability == 0 or np.float32(stability) >= np.float32(least_stability)))


def apply_filters(
    annotations: Sequence[Annotation], size_hw: tuple[int, int], generator: GeneratorConfig
) -> list[Annotation]:
    """Drop annotations of the wrong area, duplicates by mask, contained in better ones, or too many; in that order.

    The better of two has the higher predicted IoU, or comes first. What stays is numbered anew. Where no mask has the
    right area, a warning says which bound dropped the last of them, and how near they came.

    Args:
        annotations: Of one image.
        size_hw: Height and width of the image.
        generator: Its settings from `max_mask_region_area` on; each can be off.
    """
    kept = _of_right_area(annotations, size_hw, generator)
    if generator.mask_nms_thresh is not None:
        kept = [kept[i] for i in mask_nms(*_ranked(kept), size_hw, generator.mask_nms_thresh)]
    if generator.containment_thresh is not None:
        kept = [kept[i] for i in drop_contained(*_ranked(kept), size_hw, generator.containment_thresh)]
    if generator.max_masks_per_image is not None:
        best = sorted(range(len(kept)), key=lambda i: -kept[i].predicted_iou)[: generator.max_masks_per_image]
        kept = [kept[i] for i in sorted(best)]
    return [replace(annotation, mask_id=mask_id) for mask_id, annotation in enumerate(kept)]


def _of_right_area(
    annotations: Sequence[Annotation], size_hw: tuple[int, int], generator: GeneratorConfig
) -> list[Annotation]:
    kept = list(annotations)
    for key, wanted in (
        ("max_mask_region_area", generator.max_mask_region_area or None),
        ("max_mask_area", generator.max_mask_area),
        ("min_mask_area", generator.min_mask_area),
    ):
        if wanted is None or not kept:
            continue
        bound, areas = to_pixels(wanted, size_hw), [annotation.area for annotation in kept]
        if key.startswith("max"):
            kept, nearest = [annotation for annotation in kept if annotation.area <= bound], min(areas)
        else:
            kept, nearest = [annotation for annotation in kept if annotation.area >= bound], max(areas)
        if not kept:
            # In one digit, so that a million such images make few different warnings.
            message = "images without a mask: none was within generator.%s = %s; the nearest had about %.1g times that"
            _log.warning(message, key, wanted, nearest / bound)
    return kept


def to_pixels(area: MaskArea, size_hw: tuple[int, int]) -> float:
    """As pixels of an image, perhaps not whole."""
    return float(area[:-1]) * size_hw[0] * size_hw[1] / 100 if isinstance(area, str) else area


def _ranked(annotations: Sequence[Annotation]) -> tuple[list[str], list[float]]:
    return [annotation.counts for annotation in annotations], [annotation.predicted_iou for annotation in annotations]
