"""Annotations to pictures: colour masks, label masks and cut-outs as PNG bytes.

Where masks overlap in one picture the smaller one is on top, and of two equal ones the first. The same annotations
and pixels give the same bytes. Nothing is named, read or written here.
"""

import colorsys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sam_batch.errors import ImageError
from sam_batch.records import Annotation, FailureKind, UInt8Array

_OPACITY: Final = 0.55
_GOLDEN: Final = 0.6180339887498949  # steps of the golden ratio never come close to an earlier hue soon
# A photograph of one megapixel takes some 35 ms; level 6 takes eight times that for a tenth less.
_PNG: Final = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
)


def color_mask(pixels_HW3: UInt8Array | None, annotations: Sequence[Annotation], height: int, width: int) -> bytes:
    """Draw every mask in its colour.

    Args:
        pixels_HW3: (height, width, 3) RGB to blend the colours over, or None to draw on black.
        annotations: The masks; a mask's colour depends on its `mask_id` alone.
        height: Of the image, in pixels.
        width: Likewise.

    Returns:
        An RGB PNG.
    """
    labels_HW = _labels(annotations, height, width)
    last = max((one.mask_id for one in annotations), default=-1)
    palette = np.array([(0, 0, 0), *map(color, range(last + 1))], np.uint8)
    colors_HW3 = palette.take(labels_HW, axis=0)
    if pixels_HW3 is not None:
        blended_HW3 = cv2.addWeighted(pixels_HW3, 1 - _OPACITY, colors_HW3, _OPACITY, 0)
        colors_HW3 = np.where((labels_HW > 0)[..., None], blended_HW3, pixels_HW3)
    return _png(cv2.cvtColor(colors_HW3, cv2.COLOR_RGB2BGR))


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
    return _png(_labels(annotations, height, width).astype(np.uint16))


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
        yield one.mask_id, _png(cv2.bitwise_and(part, part, mask=inside))


def _labels(annotations: Iterable[Annotation], height: int, width: int) -> NDArray[np.int32]:
    """Give every pixel `mask_id` + 1 of the mask on top of it, or 0."""
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


@cache
def color(mask_id: int) -> tuple[int, int, int]:
    """A saturated RGB colour: hues step by the golden ratio, every third one is darker, every other one paler."""
    hue = (mask_id * _GOLDEN) % 1.0
    saturation = 0.9 if mask_id % 2 == 0 else 0.65
    value = 0.75 if mask_id % 3 == 2 else 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _png(image: NDArray[Any]) -> bytes:
    """Encode a grey, BGR or BGRA image."""
    done, encoded = cv2.imencode(".png", image, _PNG)
    if not done:
        raise ImageError(FailureKind.INTERNAL_ERROR, f"no PNG could be made of shape {image.shape}")
    return bytes(encoded.tobytes())
