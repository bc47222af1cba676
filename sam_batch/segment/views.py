"""What a model is shown of an image: all of it and its crops, each resized. Without torch, for the loading workers."""

from sam_batch.config import GeneratorConfig
from sam_batch.masks.geometry import resize_longest
from sam_batch.masks.grids import Box, crop_boxes
from sam_batch.records import UInt8Array, View


def view_boxes(image_hw: tuple[int, int], generator: GeneratorConfig) -> list[tuple[Box, int]]:
    """The views' (xyxy, layer) pairs in segment-anything's order.

    Crops without a pixel, which only images of a few pixels have, are left out; the reference fails on them.
    """
    boxes = crop_boxes(image_hw, generator.crop_n_layers, generator.crop_overlap_ratio)
    return [((x0, y0, x1, y1), layer) for (x0, y0, x1, y1), layer in boxes if x0 < x1 and y0 < y1]


def cut_views(pixels_HW3: UInt8Array, generator: GeneratorConfig, image_side: int) -> tuple[View, ...]:
    """Cut an image into views.

    Args:
        pixels_HW3: (H, W, 3) uint8 RGB.
        generator: Says how many crops.
        image_side: S, the longest side of each view.

    Returns:
        The whole image first, then the crops, coarse layers first.
    """
    height, width = pixels_HW3.shape[:2]
    return tuple(
        View((x0, y0, x1, y1), resize_longest(pixels_HW3[y0:y1, x0:x1], image_side))
        for (x0, y0, x1, y1), _ in view_boxes((height, width), generator)
    )
