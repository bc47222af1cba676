"""One image as a person looks at it before a job: its masks drawn over it, as set or under three thresholds.

Pictures as bytes and sentences as text; nothing is read, written or opened here.
"""

import shlex
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from sam_batch.config import GeneratorConfig
from sam_batch.config_output import ColorMasksConfig
from sam_batch.library.results import Masks
from sam_batch.output.render import Style, color_mask, encoded
from sam_batch.records import UInt8Array

THRESHOLDS = ("pred_iou_thresh", "stability_score_thresh")
FACTOR = 1.5  # by which the distance of a threshold to 1 grows or shrinks from one picture of a grid to the next
SIDE = 900  # pixels of the longer side of each picture of a grid
_CAPTION = 28  # pixels

Encoding = Literal["png", "jpeg"]


def three_thresholds(generator: GeneratorConfig) -> list[dict[str, float]]:
    """Looser thresholds, those that are set, and stricter ones."""
    return [
        {name: round(max(0.0, 1 - (1 - getattr(generator, name)) * factor), 3) for name in THRESHOLDS}
        for factor in (FACTOR, 1, 1 / FACTOR)
    ]


def as_overrides(thresholds: dict[str, float]) -> str:
    """Thresholds as one types them."""
    return shlex.join(f"generator.{name}={value:g}" for name, value in thresholds.items())


def drawn(masks: Masks, how: ColorMasksConfig, encoding: Encoding) -> bytes:
    """An image's masks as a job with these settings draws them."""
    image = masks.pixels if how.over_image else None
    style = Style(how.opacity, how.outlines, how.numbers)
    return color_mask(image, masks.annotations, masks.height, masks.width, style, encoding)


def side_by_side(pictures: Sequence[tuple[str, bytes]], encoding: Encoding) -> bytes:
    """Pictures of one size in a row, made small, each with a caption below.

    Args:
        pictures: Captions, and pictures as `drawn` returns them.
        encoding: Of the whole.
    """
    return encoded(np.hstack([_captioned(caption, picture) for caption, picture in pictures]), encoding)


def _captioned(caption: str, picture: bytes) -> UInt8Array:
    """BGR, with a black border at the right and a strip with the caption below."""
    bgr_HW3: UInt8Array = np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR))
    height, width = bgr_HW3.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    small_hw3 = cv2.resize(bgr_HW3, (width, height), interpolation=cv2.INTER_AREA)
    framed_hw3: UInt8Array = cv2.copyMakeBorder(small_hw3, 0, _CAPTION, 0, 4, cv2.BORDER_CONSTANT)
    (text_width, _), _ = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, 1, 1)
    size, place = max(0.01, min(0.5, (width - 8) / text_width)), (4, height + _CAPTION - 9)
    cv2.putText(framed_hw3, caption, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return framed_hw3
