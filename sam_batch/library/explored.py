"""All masks of one image from before the thresholds, so that other thresholds need no network.

What they leave is what `Segmenter.everything` finds with them. Settings that shape what the network is asked, such as
the grid of points, stay what they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sam_batch.config import GeneratorConfig
from sam_batch.library.results import Masks
from sam_batch.records import UInt8Array
from sam_batch.segment.candidates import Candidate
from sam_batch.segment.everything import find_again, to_annotations

FILTERS: Final = frozenset(
    {
        *("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "crop_nms_thresh", "mask_nms_thresh"),
        *("min_mask_region_area", "max_mask_region_area", "containment_thresh", "max_masks_per_image"),
        *("min_mask_area", "max_mask_area"),
    }
)
"""The generator's settings that only filter."""

UNFILTERED: Final = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
"""With these nothing is dropped that another threshold might keep."""


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """An image whose points were all decoded, once.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        generator: What it was found with; its filters do not count.
        candidates: All masks, view by view.
    """

    pixels: UInt8Array = field(repr=False)
    generator: GeneratorConfig
    candidates: Sequence[Candidate] = field(repr=False)

    def masks(self, **generator: Any) -> Masks:
        """The masks that `Segmenter.everything` finds with these settings over those the image was explored with.

        Args:
            generator: Of `FILTERS`.

        Raises:
            ValueError: A setting is none of them, or out of its range.
        """
        if generator.keys() - FILTERS:
            raise ValueError(f"{', '.join(sorted(generator.keys() - FILTERS))}: needs the network; explore anew")
        settings = GeneratorConfig.model_validate(self.generator.model_dump() | generator)
        height, width = self.pixels.shape[:2]
        annotations = to_annotations(find_again(self.candidates, settings), (height, width), settings)
        return Masks(tuple(annotations), height, width, pixels=self.pixels)
