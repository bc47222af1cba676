"""A chosen image as a page needs it: a small JPEG, and its masks as paths of an SVG drawing over it.

The drawing knows every mask by itself: a page can show photograph, colours or outlines, and tell what the mouse is on.
"""

import base64
from typing import Any

import cv2
import numpy as np

from sam_batch.masks.polygons import edge_polygons
from sam_batch.output.palette import Colors
from sam_batch.records import UInt8Array

SIDE = 640  # pixels of the longer side of a thumbnail
MOST_MASKS = 300  # largest ones first; a picture of more shows nothing
QUALITY = 80


def thumbnail(pixels_HW3: UInt8Array, side: int = SIDE) -> str:
    """A photograph as the `data:` address of a JPEG of at most `side` pixels a side.

    Args:
        pixels_HW3: (H, W, 3) RGB.
        side: Of the JPEG.
    """
    height, width = pixels_HW3.shape[:2]
    scale = _scale(height, width, side)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))  # of a strip of pixels, too
    small_hw3 = cv2.resize(pixels_HW3, size_wh, interpolation=cv2.INTER_AREA) if scale < 1 else pixels_HW3
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small_hw3, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def drawn_masks(row: dict[str, Any], colors: Colors) -> list[dict[str, Any]]:
    """The masks of an annotation row for a page, large ones first, so that small ones lie on top.

    Args:
        row: Of the annotations.
        colors: Of its output's pictures.

    Returns:
        For each its `path` in pixels of the image, `color`, and what a person wants to know of it.
    """
    largest = sorted(row["masks"], key=lambda mask: -mask["area"])[:MOST_MASKS]
    return [
        {
            "id": mask["mask_id"],
            "path": _path(mask["counts"], row["height"], row["width"]),
            "color": "#{:02x}{:02x}{:02x}".format(*colors(mask["mask_id"])),
            "iou": round(mask["predicted_iou"], 4),
            "stability": round(mask["stability_score"], 4),
            "area": mask["area"],
            "bbox": [round(side) for side in mask["bbox"]],
        }
        for mask in largest
    ]


def _path(counts: str, height: int, width: int) -> str:
    """A mask's outline, as exact as a thumbnail can show it."""
    tolerance = 0.5 / _scale(height, width)
    rings = edge_polygons(counts, height, width)
    return "".join(_ring(ring, tolerance) for ring in rings)


def _ring(ring_n2: np.ndarray, tolerance: float) -> str:
    smooth_n2 = cv2.approxPolyDP(ring_n2.astype(np.float32)[:, None], tolerance, closed=True)[:, 0]
    points_n2 = smooth_n2 if len(smooth_n2) >= 3 else ring_n2  # a line would have no inside for the mouse
    return "M" + "L".join(f"{x:.5g},{y:.5g}" for x, y in points_n2.tolist()) + "Z"


def _scale(height: int, width: int, side: int = SIDE) -> float:
    return min(1.0, side / max(height, width))
