"""Prompts that somebody painted over a picture, read off its pixels; and the masks that answer them, painted back.

Pure functions of arrays: a picture before and after, of one size. What was drawn is where the two differ. Canvases
smooth the edges of a brush, scale, and save as JPEG, which changes pixels nobody drew on; so each function takes a
`tolerance`, the most that any channel of such a pixel changes. A drawn colour within it of what it covers is not seen.

Positions are as prompts have them: (x, y) in pixels, where x counts columns from 0; boxes are xyxy with x1 and y1 one
past the last pixel. No tool, brush or file is known here.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_batch.masks.patch import BoolArray
from sam_batch.output.render import blend
from sam_batch.records import UInt8Array

FloatArray: TypeAlias = NDArray[np.float64]
Box: TypeAlias = tuple[float, float, float, float]
Color: TypeAlias = tuple[int, int, int]

TOLERANCE = 32  # of 255: JPEG at a quality of 80 and more changes photographs by less almost everywhere
CANDIDATE_COLORS: tuple[Color, ...] = ((230, 60, 60), (60, 180, 75), (60, 110, 230))
"""Red, green and blue of the whole, the part and the part of the part, which is SAM's order."""

_SHADES = 16  # a bin of colours, when they are counted: what JPEG makes of one colour falls in few of them


def painted_points(
    before: UInt8Array, after: UInt8Array, *, tolerance: int = TOLERANCE, min_area: int = 4
) -> FloatArray:
    """The centres of the regions that were drawn on.

    Args:
        before: (H, W, C) the picture, of any number of channels.
        after: The same with something drawn over it.
        tolerance: Of 255; 0 for canvases that keep every pixel.
        min_area: Pixels; smaller regions are noise.

    Returns:
        (n, 2) x and y of each region's centre of mass, from the top down, by the regions' first pixels. Pixels that
        touch by a side or a corner are one region. A centre may lie outside of a region with a hollow.

    Raises:
        ValueError: The pictures are not of one shape and uint8.
    """
    changed_HW = _changed(before, after, tolerance)
    _, _, stats, centres = cv2.connectedComponentsWithStats(changed_HW.view(np.uint8), connectivity=8)
    large = stats[1:, cv2.CC_STAT_AREA] >= min_area  # the first is what is around them
    return centres[1:][large].astype(np.float64)


def painted_box(before: UInt8Array, after: UInt8Array, *, tolerance: int = TOLERANCE) -> Box | None:
    """The box around an outline, or whatever else was drawn in the most frequent colour.

    Beside the outline there may be strokes in other colours. A pixel on the brush's smooth edge counts where the brush
    covers at least half of it.

    Args:
        before: (H, W, C) the picture.
        after: The same with something drawn over it.
        tolerance: Of 255; 0 for canvases that keep every pixel and brushes with hard edges.

    Returns:
        xyxy from the outline's outer edges; None if nothing is drawn. Of colours that are as frequent the one with the
        lowest first channel counts, then the second, then the third.

    Raises:
        ValueError: The pictures are not of one shape and uint8.
    """
    changed_HW = _changed(before, after, tolerance)
    if not changed_HW.any():
        return None
    beneath_N, drawn_N = (picture[changed_HW].astype(np.float64) for picture in (before, after))
    color = _most_frequent(drawn_N)

    # 1. How much of each pixel the colour covers, if it was drawn in it: the nearest point between the two colours.
    way_N = color - beneath_N
    covered_N = ((drawn_N - beneath_N) * way_N).sum(axis=1) / np.maximum((way_N**2).sum(axis=1), 1e-9)

    # 2. Whether it was: the pixel lies there, and not at another colour.
    expected_N = beneath_N + covered_N[:, None].clip(0, 1) * way_N
    outline_N = (covered_N >= 0.5) & (np.abs(drawn_N - expected_N).max(axis=1) <= tolerance)

    ys, xs = (axis[outline_N] for axis in changed_HW.nonzero())
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def paint_candidates(
    image_HW3: UInt8Array,
    masks_MHW: BoolArray,
    *,
    colors: tuple[Color, ...] = CANDIDATE_COLORS,
    opacity: float = 0.5,
) -> UInt8Array:
    """The candidates for one prompt over the image, each in its colour; smaller ones lie on top.

    Args:
        image_HW3: RGB.
        masks_MHW: As `Segmenter.predict(..., choose="all").arrays` has them; at most as many as colours.
        colors: RGB of each, in the masks' order.
        opacity: From 0, the image alone, to 1.

    Returns:
        (H, W, 3) RGB, a new array.

    Raises:
        ValueError: There are more masks than colours, or they are not of the image's size.
    """
    if masks_MHW.ndim != 3 or masks_MHW.shape[1:] != image_HW3.shape[:2] or len(masks_MHW) > len(colors):
        most = f"(at most {len(colors)}, {image_HW3.shape[0]}, {image_HW3.shape[1]})"
        raise ValueError(f"masks should be {most}; they are {masks_MHW.shape}")
    labels_HW = np.zeros(image_HW3.shape[:2], np.int32)
    for index in np.argsort(-masks_MHW.sum(axis=(1, 2)), kind="stable"):
        labels_HW[masks_MHW[index]] = index + 1
    return blend(image_HW3, labels_HW, np.array([(0, 0, 0), *colors], np.uint8), opacity)


def _changed(before: UInt8Array, after: UInt8Array, tolerance: int) -> BoolArray:
    """(H, W), where a channel differs by more than the tolerance."""
    if before.shape != after.shape or before.ndim != 3 or before.dtype != np.uint8 or after.dtype != np.uint8:
        sizes = " and ".join(f"{picture.shape} {picture.dtype}" for picture in (before, after))
        raise ValueError(f"two pictures should be of one shape (H, W, C) and uint8; they are {sizes}")
    return np.asarray((cv2.absdiff(before, after).reshape(before.shape) > tolerance).any(axis=2))


def _most_frequent(colors_NC: FloatArray) -> FloatArray:
    """(C,), the middle of the colours in the fullest bin."""
    _, bin_N, counts = np.unique(colors_NC // _SHADES, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(np.median(colors_NC[bin_N.ravel() == counts.argmax()], axis=0))
