"""Where everything mode looks: grids of points, and the crops of an image. NumPy alone, for workers without torch."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def point_grid(n_per_side: int) -> NDArray[np.float64]:
    """Spread points evenly over the unit square, row by row.

    Returns:
        (n_per_side ** 2, 2) float64 (x, y) in 0 to 1; segment-anything's `build_point_grid`.
    """
    offset = 1 / (2 * n_per_side)
    ticks = np.linspace(offset, 1 - offset, n_per_side)
    x, y = np.meshgrid(ticks, ticks)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def layer_point_grids(points_per_side: int, n_layers: int, scale_per_layer: int) -> list[NDArray[np.float64]]:
    """One grid for the whole image and one a layer of crops; segment-anything's `build_all_layer_point_grids`.

    Args:
        points_per_side: Of the whole image.
        n_layers: Of crops.
        scale_per_layer: Each layer has so many times fewer points a side than the one before.
    """
    return [point_grid(int(points_per_side / scale_per_layer**layer)) for layer in range(n_layers + 1)]


def crop_boxes(image_hw: tuple[int, int], n_layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    """The whole image, then 4 ** i overlapping crops for each layer i, column by column.

    Crops of tiny images can be empty (x1 <= x0 or y1 <= y0); they are listed nevertheless.

    Args:
        image_hw: Height and width in pixels.
        n_layers: Of crops, without the whole image.
        overlap_ratio: Of two neighbours in the first layer, as a share of the image's shorter side; halved by each
            further layer.

    Returns:
        (xyxy in pixels, layer) pairs; segment-anything's `generate_crop_boxes`.
    """
    height, width = image_hw
    boxes: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, n_layers + 1):
        n_per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / n_per_side))
        crop_w, crop_h = (math.ceil((overlap * (n_per_side - 1) + side) / n_per_side) for side in (width, height))
        for column, row in itertools.product(range(n_per_side), repeat=2):
            x0, y0 = column * (crop_w - overlap), row * (crop_h - overlap)
            boxes.append(((x0, y0, min(x0 + crop_w, width), min(y0 + crop_h, height)), layer))
    return boxes
