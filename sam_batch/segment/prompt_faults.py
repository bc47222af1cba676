"""What is wrong with a prompt, before an engine sees it: SAM makes a mask of anything, even of NaN."""

import math

import numpy as np

from sam_batch.masks.low_res import is_mask
from sam_batch.records import Prompt, PromptFailure
from sam_batch.records import PromptFailureKind as Kind


def find_fault(prompt: Prompt, image_hw: tuple[int, int], mask_side: int) -> PromptFailure | None:
    """The first thing that keeps a prompt from being answered, or None.

    Args:
        prompt: Any.
        image_hw: Height and width of its image.
        mask_side: Of the model's low-resolution logits.
    """
    return (
        prompt.fault
        or _of_points(prompt, image_hw)
        or _of_box(prompt, image_hw)
        or _of_mask(prompt, image_hw, mask_side)
    )


def _of_points(prompt: Prompt, image_hw: tuple[int, int]) -> PromptFailure | None:
    height, width = image_hw
    if len(prompt.points) != len(prompt.labels):
        message = f"{len(prompt.points)} points have {len(prompt.labels)} labels; give each point one"
        return PromptFailure(Kind.BAD_LABEL, message)
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        if label not in (-1, 0, 1):  # in SAM's ONNX model 2 and 3 are corners of a box; elsewhere SAM ignores them
            message = f"label {label}: is 1 (foreground), 0 (background) or -1 (no point); a box is given as a box"
            return PromptFailure(Kind.BAD_LABEL, message)
        if label == -1:
            continue
        if not (math.isfinite(x) and math.isfinite(y)):
            return PromptFailure(Kind.NOT_FINITE, f"the point ({x}, {y}) is not finite")
        if not (0 <= x <= width and 0 <= y <= height):
            message = f"the point ({x:g}, {y:g}) lies outside of the image of {width} x {height}"
            return PromptFailure(Kind.OUTSIDE, message)
    return None


def _of_box(prompt: Prompt, image_hw: tuple[int, int]) -> PromptFailure | None:
    if prompt.box is None:
        return None
    height, width = image_hw
    x0, y0, x1, y1 = prompt.box
    corners = f"the box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})"
    if not all(map(math.isfinite, prompt.box)):
        return PromptFailure(Kind.NOT_FINITE, f"{corners} is not finite")
    if x1 < x0 or y1 < y0:
        return PromptFailure(Kind.REVERSED_BOX, f"{corners} has its corners reversed; is it xywh?")
    if x1 == x0 or y1 == y0:
        return PromptFailure(Kind.EMPTY_BOX, f"{corners} is empty")
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:  # one that sticks out is taken as it is
        return PromptFailure(Kind.OUTSIDE, f"{corners} lies outside of the image of {width} x {height}")
    return None


def _of_mask(prompt: Prompt, image_hw: tuple[int, int], mask_side: int) -> PromptFailure | None:
    height, width = image_hw
    if prompt.mask is not None and prompt.logits is not None:
        return PromptFailure(Kind.WRONG_SIZE, "a mask and logits are both given; give one of them")
    if prompt.mask is not None and not is_mask(prompt.mask, height, width):
        return PromptFailure(Kind.WRONG_SIZE, f"its mask is none of an image of {width} x {height}")
    if prompt.logits is None:
        return None
    if len(prompt.logits) != 4 * mask_side**2:
        message = f"its logits have {len(prompt.logits)} bytes; {mask_side} x {mask_side} float32 are expected"
        return PromptFailure(Kind.WRONG_SIZE, message)
    if not np.isfinite(np.frombuffer(prompt.logits, np.float32)).all():
        return PromptFailure(Kind.NOT_FINITE, "its logits are not finite")
    return None
