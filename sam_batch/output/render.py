"""Annotations to pictures: colour masks, label masks and cut-outs as bytes of PNG or JPEG.

Where masks overlap in one picture the smaller one is on top, and of two equal ones the first. The same annotations
and pixels give the same bytes. Nothing is named, read or written here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sam_batch.errors import ImageError
from sam_batch.output import palette
from sam_batch.records import Annotation, FailureKind, UInt8Array

Labels = NDArray[np.int32]

# A photograph of one megapixel takes some 35 ms; level 6 takes eight times that for a tenth less.
_PNG: Final = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
)
_JPEG: Final = (cv2.IMWRITE_JPEG_QUALITY, 90)


@dataclass(frozen=True, slots=True)
class Style:
    """How masks are drawn.

    Attributes:
        opacity: Of their colours over a photograph, 0 to 1.
        outlines: Whether the edge of what is seen of each is drawn in its full colour.
        numbers: Whether its `mask_id` is written on it.
        colors: From a `mask_id` to RGB.
    """

    opacity: float = 0.55
    outlines: bool = False
    numbers: bool = False
    colors: palette.Colors = palette.color


PLAIN: Final = Style()


def color_mask(
    pixels_HW3: UInt8Array | None,
    annotations: Sequence[Annotation],
    height: int,
    width: int,
    style: Style = PLAIN,
    encoding: Literal["png", "jpeg"] = "png",
) -> bytes:
    """Draw every mask in its colour.

    Args:
        pixels_HW3: (height, width, 3) RGB to blend the colours over, or None to draw on black.
        annotations: The masks; a mask's colour depends on its `mask_id` alone.
        height: Of the image, in pixels.
        width: Likewise.
        style: How.
        encoding: Of the picture.

    Returns:
        An RGB PNG or JPEG.
    """
    labels_HW = labels(annotations, height, width)
    last = max((one.mask_id for one in annotations), default=-1)
    colors_L3 = np.array([(0, 0, 0), *map(style.colors, range(last + 1))], np.uint8)
    drawn_HW3 = blend(pixels_HW3, labels_HW, colors_L3, style.opacity)
    if style.outlines:
        edges_HW = _edges(labels_HW)
        drawn_HW3[edges_HW] = colors_L3[labels_HW[edges_HW]]
    bgr_HW3 = cv2.cvtColor(drawn_HW3, cv2.COLOR_RGB2BGR)
    if style.numbers:
        for one in annotations:
            _write_number(bgr_HW3, labels_HW, one)
    return encoded(bgr_HW3, encoding)


def blend(pixels_HW3: UInt8Array | None, labels_HW: Labels, colors_L3: UInt8Array, opacity: float) -> UInt8Array:
    """Lay the labels' colours over a photograph.

    Args:
        pixels_HW3: RGB, or None for the colours themselves.
        labels_HW: Which colour each pixel has; 0 is none.
        colors_L3: RGB; the first is what a pixel without a mask shows where there is no photograph.
        opacity: 0 to 1.

    Returns:
        (H, W, 3) RGB, a new array.
    """
    drawn_HW3: UInt8Array = colors_L3.take(labels_HW, axis=0)
    if pixels_HW3 is None:
        return drawn_HW3
    blended_HW3 = cv2.addWeighted(pixels_HW3, 1 - opacity, drawn_HW3, opacity, 0)
    return np.where((labels_HW > 0)[..., None], blended_HW3, pixels_HW3)


def label_mask(annotations: Sequence[Annotation], height: int, width: int) -> bytes:
    """Draw every mask as the number `mask_id` + 1, on 0.

    Returns:
        A 16-bit grey PNG.

    Raises:
        ImageError: A number does not fit 16 bits.
    """
    last = max((one.mask_id for one in annotations), default=-1)
    if last + 1 > np.iinfo(np.uint16).max:
        raise ImageError(FailureKind.INTERNAL_ERROR, f"mask {last} does not fit a label mask of 16 bits")
    return encoded(labels(annotations, height, width).astype(np.uint16))


def segment_cutouts(
    pixels_HW3: UInt8Array, annotations: Iterable[Annotation], min_area: int, frame: Literal["crop", "full"]
) -> Iterator[tuple[int, bytes]]:
    """Cut the masks out of the image, one by one.

    Args:
        pixels_HW3: (H, W, 3) RGB.
        annotations: The masks.
        min_area: Masks with fewer pixels are left out.
        frame: crop cuts to the mask's box, full keeps the size of the image.

    Yields:
        `mask_id` and an RGBA PNG with straight alpha: 255 on the mask, and 0 in every channel elsewhere.
    """
    bgra_HW4 = cv2.cvtColor(pixels_HW3, cv2.COLOR_RGB2BGRA)
    for one in annotations:
        if one.area < max(min_area, 1):
            continue
        window = _box(one) if frame == "crop" else np.s_[:, :]
        part = bgra_HW4[window]
        inside = np.ascontiguousarray(_mask(one, *pixels_HW3.shape[:2])[window])
        yield one.mask_id, encoded(cv2.bitwise_and(part, part, mask=inside))


def labels(annotations: Iterable[Annotation], height: int, width: int) -> Labels:
    """Give every pixel `mask_id` + 1 of the mask on top of it, or 0: (height, width) int32."""
    # Column-major like the masks that COCO's run lengths decode to.
    labels_HW = np.zeros((height, width), np.int32, order="F")
    for one in sorted(annotations, key=lambda one: (-one.area, -one.mask_id)):
        window = _box(one)
        inside = _mask(one, height, width)[window].view(np.bool_)
        np.copyto(labels_HW[window], one.mask_id + 1, where=inside)
    return np.ascontiguousarray(labels_HW)


def _mask(annotation: Annotation, height: int, width: int) -> UInt8Array:
    """Decode a mask: (height, width) uint8, 1 inside, column-major."""
    mask_HW: UInt8Array = coco_mask.decode({"size": [height, width], "counts": annotation.counts})
    return mask_HW


def _box(annotation: Annotation) -> tuple[slice, slice]:
    x, y, width, height = map(int, annotation.bbox)
    return np.s_[y : y + height, x : x + width]


def _edges(labels_HW: Labels) -> NDArray[np.bool_]:
    """Where a mask that is seen meets another, or none: (H, W), as wide as shows in a picture of this size."""
    edges_HW = np.zeros(labels_HW.shape, bool)
    for axis in (0, 1):
        before, after = (np.s_[:, :-1], np.s_[:, 1:]) if axis else (np.s_[:-1], np.s_[1:])
        differ = labels_HW[before] != labels_HW[after]
        edges_HW[before] |= differ
        edges_HW[after] |= differ
    side = 2 * (max(labels_HW.shape) // 1500) + 1
    wide_HW = cv2.dilate(edges_HW.view(np.uint8), np.ones((side, side), np.uint8)).view(np.bool_)
    return wide_HW & (labels_HW > 0)


def _write_number(bgr_HW3: UInt8Array, labels_HW: Labels, annotation: Annotation) -> None:
    """Write a mask's number where most of it is around; nothing if all of it is covered."""
    window = _box(annotation)
    seen_hw = np.pad((labels_HW[window] == annotation.mask_id + 1).astype(np.uint8), 1)
    if not seen_hw.any():
        return
    _, _, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(seen_hw, cv2.DIST_L2, 3))
    text, scale = str(annotation.mask_id), max(0.45, max(labels_HW.shape) / 2000)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    place_xy = window[1].start + x - 1 - width // 2, window[0].start + y - 1 + height // 2
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        thick = max(thickness, round(thickness * scale))
        cv2.putText(bgr_HW3, text, place_xy, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thick, cv2.LINE_AA)


def encoded(image: NDArray[Any], encoding: Literal["png", "jpeg"] = "png") -> bytes:
    """Encode a grey, BGR or BGRA image."""
    done, data = cv2.imencode(f".{encoding}", image, _PNG if encoding == "png" else _JPEG)
    if not done:
        raise ImageError(FailureKind.INTERNAL_ERROR, f"no {encoding.upper()} could be made of shape {image.shape}")
    return bytes(data.tobytes())
