"""The two interpolations as plainly as they can be written, in this package's rounding and in none.

Against them kernels are held to the last bit, and torch as far as its release, its threads and the processor let it:
where torch rounds as `bilinear` does masks are equal, elsewhere they differ at most where a logit is a tie.
"""

import platform

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam_batch.compiled import compiled
from sam_batch.masks.kernels.bilinear import mix, steps_for

ALIKE = torch.__version__ < (2, 15) and platform.machine() == "x86_64"
ALIKE &= torch.backends.cpu.get_cpu_capability() != "DEFAULT"
SMALL = 128  # height and width, added, of an output that torch computes as in a single thread

where_torch_rounds_alike = pytest.mark.skipif(
    not ALIKE, reason=f"torch {torch.__version__} rounds in another way on {torch.backends.cpu.get_cpu_capability()}"
)


@compiled
def interpolate(image_hw, step):
    """One step, pixel by pixel."""
    x, y = step
    out_HW = np.empty((len(y.first), len(x.first)), np.float32)
    for i in range(len(y.first)):
        for j in range(len(x.first)):
            upper = mix(image_hw[y.first[i], x.first[j]], image_hw[y.first[i], x.second[j]], x.far[j])
            lower = mix(image_hw[y.second[i], x.first[j]], image_hw[y.second[i], x.second[j]], x.far[j])
            out_HW[i, j] = mix(upper, lower, y.far[i])
    return out_HW


def upsample(low_hw, scale):
    """(H, W) float32 logits, rounded as kernels round them."""
    to_input, to_crop = steps_for(low_hw.shape, scale)
    return interpolate(interpolate(low_hw, to_input), to_crop)


def upsample_with_torch(low_hw, scale):
    """(H, W) logits as segment-anything has them: torch rounds three channels, a prompt's masks, in a way of their own.

    In float64 they are exact, for what float32 is compared with.
    """
    low_13hw = torch.from_numpy(low_hw).expand(1, 3, -1, -1).contiguous()
    view_13hw = F.interpolate(low_13hw, (scale.side,) * 2, mode="bilinear")[..., : scale.view_hw[0], : scale.view_hw[1]]
    return F.interpolate(view_13hw, scale.crop_hw, mode="bilinear")[0, 0].numpy()


def rounding(low_hw):
    """The most that float32 may move a logit: by where it looks it up, and by how it mixes what it finds."""
    eps = np.finfo(np.float32).eps
    steepness = sum(np.abs(np.diff(low_hw, axis=axis)).max() for axis in (0, 1))  # from pixel to pixel
    positions = 1.5 * eps * max(low_hw.shape)  # in low-resolution pixels, of each of two steps: rounded three times
    return 2 * positions * steepness + 8 * eps * np.abs(low_hw).max()


def assert_torchs(mask_HW, low_hw, scale, threshold):
    """A mask is what torch makes of the logits, but for a few pixels whose logits are ties."""
    differs_HW = mask_HW != (upsample_with_torch(low_hw, scale) > threshold)
    exact_HW = upsample_with_torch(low_hw.astype(np.float64), scale)
    assert (np.abs(exact_HW - threshold)[differs_HW] <= rounding(low_hw)).all()
    assert differs_HW.sum() <= 1 + differs_HW.size // 10_000
