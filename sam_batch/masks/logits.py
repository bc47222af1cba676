"""Low-resolution logits to the stable binary masks of one crop: what is wanted, written with torch's own operators.

`masks.kernels` does the same faster, and `kernels.choose` says which of them runs. Memory is bounded: a few masks at a
time are pixels, what is kept is a `Patch`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sam_batch.masks.patch import Patch

PIXELS_AT_ONCE = 1 << 25  # 128 MB in float32


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes that low-resolution logits pass through on their way to the crop.

    Attributes:
        side: S, of the model's square input.
        view_hw: The part of it that is not padding.
        crop_hw: The crop's own pixels.
    """

    side: int
    view_hw: tuple[int, int]
    crop_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class StableMask:
    """A mask that passed.

    Attributes:
        index: Which of the logits it comes from.
        stability: 0 to 1.
        patch: The mask, in the crop's frame.
    """

    index: int
    stability: float
    patch: Patch


def stable_masks(
    logits_Khw: Tensor, scale: Scale, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """See `kernels.choose.stable_masks`; step by step, on any device."""
    pixels = max(scale.side**2, scale.crop_hw[0] * scale.crop_hw[1])
    at_once = max(1, PIXELS_AT_ONCE // pixels)
    for start in range(0, len(logits_Khw), at_once):
        full_KHW = upsample(logits_Khw[start : start + at_once], scale)
        stability_K = stability(full_KHW, threshold, offset)
        kept_K = (stability_K >= min_stability).nonzero().flatten()
        for i, value in zip(kept_K.tolist(), stability_K[kept_K].tolist(), strict=True):
            yield StableMask(start + i, value, Patch.of((full_KHW[i] > threshold).cpu().numpy()))


def upsample(logits_Khw: Tensor, scale: Scale) -> Tensor:
    """Logits at the crop's size: up to the model's input, without the padding, then to the crop.

    Two bilinear steps with the rounding between them; segment-anything's `Sam.postprocess_masks`.

    Returns:
        (K, H, W), of the logits' type.
    """
    input_1KSS = F.interpolate(logits_Khw[None], (scale.side, scale.side), mode="bilinear", align_corners=False)
    view_1Khw = input_1KSS[..., : scale.view_hw[0], : scale.view_hw[1]]
    return F.interpolate(view_1Khw, scale.crop_hw, mode="bilinear", align_corners=False)[0]


def stability(logits_KHW: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of the masks at the threshold plus and minus the offset; segment-anything's `calculate_stability_score`.

    Args:
        logits_KHW: At the crop's size, K at least 1.
        threshold: Of the mask.
        offset: Shift of the threshold.

    Returns:
        (K,) float32; 0 where both masks are empty (the reference has NaN, which passes no threshold either).
    """
    # Mask by mask: torch's sum over a batch of booleans takes many times as long on a CPU.
    inner_K, outer_K = (
        torch.stack([(logits_HW > level).count_nonzero() for logits_HW in logits_KHW])
        for level in (threshold + offset, threshold - offset)
    )
    return (inner_K / outer_K).nan_to_num_(nan=0.0)
