"""Frames of reference: the image, a crop of it, and the crop resized to the model's input ("view").

Positions are (x, y) in pixels. A view's longest side is the model's input side; the model pads it at the right and
bottom, so positions in a view are positions in the model's input. NumPy and Pillow alone, for workers without torch.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_batch.masks.grids import Box
from sam_batch.records import UInt8Array

NEAR_EDGE = 20.0  # pixels, as in segment-anything's is_box_near_crop_edge


def view_shape(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width after resizing to a longest side, each at least 1.

    segment-anything's `ResizeLongestSide.get_preprocess_shape`, which returns 0 for what is much longer than wide.
    """
    scale = side * 1.0 / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize_longest(pixels_HW3: UInt8Array, side: int) -> UInt8Array:
    """Resize so that the longest side is `side`: Pillow's bilinear filter, with antialiasing.

    Bit for bit segment-anything's `ResizeLongestSide.apply_image`.

    Args:
        pixels_HW3: (H, W, 3) uint8 RGB.
        side: Of the model's input.

    Returns:
        (h', w', 3) uint8 RGB.
    """
    height, width = view_shape(pixels_HW3.shape[0], pixels_HW3.shape[1], side)
    image = Image.fromarray(np.ascontiguousarray(pixels_HW3))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def points_to_view(
    points_P2: NDArray[np.float64], crop_hw: tuple[int, int], view_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Positions in a crop to positions in its view; segment-anything's `ResizeLongestSide.apply_coords`."""
    return points_P2 * np.array([view_hw[1] / crop_hw[1], view_hw[0] / crop_hw[0]])


def near_crop_edge(box: Box, crop: Box, image_hw: tuple[int, int]) -> bool:
    """Whether a box ends at an edge of its crop that is no edge of the image: what it holds was probably cut off.

    Never true in the crop that is the whole image. segment-anything's `is_box_near_crop_edge`.

    Args:
        box: xyxy in the image.
        crop: Likewise.
        image_hw: Height and width of the image.
    """
    image = (0, 0, image_hw[1], image_hw[0])
    edges = zip(box, crop, image, strict=True)
    return any(abs(at - cut) <= NEAR_EDGE < abs(at - end) for at, cut, end in edges)
