"""Masks of an image's size as the low-resolution logits that SAM takes as a prompt."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_batch.masks import rle

LOGIT = 6.9  # inside, and minus it outside: the inverse sigmoid of 0.999, for a mask that is known


def is_mask(counts: str, height: int, width: int) -> bool:
    """Whether a string is compressed run lengths of a (height, width) mask."""
    codes = np.frombuffer(counts.encode("utf-8"), np.uint8) - 48  # six bits a byte, the highest where more follow
    if len(codes) == 0 or (codes > 63).any() or codes[-1] & 32:
        return False
    from sam_batch.masks.polygons import run_lengths_of  # compiled: what has no mask to look at does without

    runs = run_lengths_of(counts)
    return bool((runs >= 0).all() and runs.sum() == height * width)


def mask_logits(
    counts: str, image_hw: tuple[int, int], view_hw: tuple[int, int], image_side: int, mask_side: int
) -> NDArray[np.float32]:
    """Bring a mask of the image into the frame of the model's low-resolution logits.

    Args:
        counts: COCO's compressed run lengths of the image's mask.
        image_hw: Height and width of the image.
        view_hw: Of the image resized to the model's input; the rest of the input is padding, and outside.
        image_side: S, of the model's input.
        mask_side: h = w; S is a multiple of it.

    Returns:
        (h, w) float32 from -LOGIT to LOGIT: 0 where the mask covers half of a cell.
    """
    mask_HW = rle.decode(counts, *image_hw).view(np.uint8) * np.uint8(255)  # bytes: an image can be large
    input_SS = np.zeros((image_side, image_side), np.uint8)
    input_SS[: view_hw[0], : view_hw[1]] = cv2.resize(mask_HW, view_hw[::-1], interpolation=cv2.INTER_AREA)
    step = image_side // mask_side
    share_hw = input_SS.reshape(mask_side, step, mask_side, step).mean(axis=(1, 3), dtype=np.float32) / np.float32(255)
    return (2 * share_hw - 1) * np.float32(LOGIT)
