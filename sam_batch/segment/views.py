"""What a model is shown of an image: all of it and its crops, each resized. Without torch, for the loading workers."""

from collections.abc import Iterable
from typing import TypeAlias

from sam_batch.config import Config, GeneratorConfig
from sam_batch.masks.geometry import resize_longest
from sam_batch.masks.grids import Box, crop_boxes
from sam_batch.records import UInt8Array, View

ViewBox: TypeAlias = tuple[Box, int]


def grid_views(image_hw: tuple[int, int], config: Config) -> list[ViewBox]:
    """The views of everything mode: the whole image, and the crops that are configured."""
    return crop_views(image_hw, config.generator)


def crop_views(image_hw: tuple[int, int], generator: GeneratorConfig) -> list[ViewBox]:
    """The whole image and its crops, as (xyxy, layer) pairs in segment-anything's order.

    Crops without a pixel, which only images of a few pixels have, are left out; the reference fails on them.
    """
    boxes = crop_boxes(image_hw, generator.crop_n_layers, generator.crop_overlap_ratio)
    return [((x0, y0, x1, y1), layer) for (x0, y0, x1, y1), layer in boxes if x0 < x1 and y0 < y1]


def whole_view(image_hw: tuple[int, int]) -> list[ViewBox]:
    """The whole image alone."""
    height, width = image_hw
    return [((0, 0, width, height), 0)]


def cut_views(pixels_HW3: UInt8Array, boxes: Iterable[ViewBox], image_side: int) -> tuple[View, ...]:
    """Cut an image into views.

    Args:
        pixels_HW3: (H, W, 3) uint8 RGB.
        boxes: Of the views, (xyxy, layer) pairs.
        image_side: S, the longest side of each view.
    """
    return tuple(
        View((x0, y0, x1, y1), resize_longest(pixels_HW3[y0:y1, x0:x1], image_side), layer)
        for (x0, y0, x1, y1), layer in boxes
    )
