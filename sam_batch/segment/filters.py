"""Filters that segment-anything does not have.

They come last and change nothing they keep: off, they leave its records; on, a subset of them, in the same order.
"""

from collections.abc import Sequence
from dataclasses import replace

from sam_batch.config import GeneratorConfig
from sam_batch.masks.nms import drop_contained, mask_nms
from sam_batch.records import Annotation


def apply_filters(
    annotations: Sequence[Annotation], size_hw: tuple[int, int], generator: GeneratorConfig
) -> list[Annotation]:
    """Drop annotations that are too large, duplicates by mask, contained in better ones, or too many; in that order.

    The better of two has the higher predicted IoU, or comes first. What stays is numbered anew.

    Args:
        annotations: Of one image.
        size_hw: Height and width of the image.
        generator: Its four last settings; each can be off.
    """
    kept = list(annotations)
    if generator.max_mask_region_area:
        kept = [annotation for annotation in kept if annotation.area <= generator.max_mask_region_area]
    if generator.mask_nms_thresh is not None:
        kept = [kept[i] for i in mask_nms(*_ranked(kept), size_hw, generator.mask_nms_thresh)]
    if generator.containment_thresh is not None:
        kept = [kept[i] for i in drop_contained(*_ranked(kept), size_hw, generator.containment_thresh)]
    if generator.max_masks_per_image is not None:
        best = sorted(range(len(kept)), key=lambda i: -kept[i].predicted_iou)[: generator.max_masks_per_image]
        kept = [kept[i] for i in sorted(best)]
    return [replace(annotation, mask_id=mask_id) for mask_id, annotation in enumerate(kept)]


def _ranked(annotations: Sequence[Annotation]) -> tuple[list[str], list[float]]:
    return [annotation.counts for annotation in annotations], [annotation.predicted_iou for annotation in annotations]
