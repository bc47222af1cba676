"""Low-resolution logits to the stable binary masks of one crop: up-sample, measure, threshold, cut.

On the CPU `fused` does all of it, mask by mask, with torch's own roundings; on CUDA `fused_cuda` does, all masks at
once. On other devices, without Triton, and where torch on the CPU rounds otherwise than `bilinear` knows, torch does it
step by step. Memory is bounded: a few masks at a time are pixels, what is kept is a `Patch`.
"""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam_batch.masks.kernels import bilinear
from sam_batch.masks.kernels import cpu as fused
from sam_batch.masks.patch import Patch

if TYPE_CHECKING:
    from sam_batch.masks.kernels import cuda as fused_cuda

PIXELS_AT_ONCE = 1 << 25  # 128 MB in float32
TOGETHER = 3  # torch rounds differently for other numbers of channels; the reference has a prompt's three masks


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


SAMPLE_SCALES = (Scale(80, (61, 80), (97, 131)), Scale(80, (80, 47), (55, 31)))  # to look at roundings with


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
    logits_Khw: Tensor, scale: Scale, *, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """Yield the masks whose stability reaches a minimum, in the order of the logits.

    Args:
        logits_Khw: (K, h, w) float32, on any device.
        scale: From them to the crop.
        threshold: Logits above it are mask.
        offset: Shift of the threshold when stability is measured.
        min_stability: 0 keeps every mask, empty ones too.
    """
    way = step_by_step
    if logits_Khw.device.type == "cpu" and rounds_as_fused(torch.get_num_threads()):
        way = fused_on_cpu
    elif logits_Khw.device.type == "cuda" and find_spec("triton") and works_on_cuda(logits_Khw.device):
        way = fused_on_cuda
    return way(logits_Khw, scale, threshold, offset, min_stability)


def step_by_step(
    logits_Khw: Tensor, scale: Scale, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """`stable_masks` with torch's own operators, on any device."""
    pixels = max(scale.side**2, scale.crop_hw[0] * scale.crop_hw[1])
    at_once = TOGETHER * max(1, PIXELS_AT_ONCE // (TOGETHER * pixels))
    for start in range(0, len(logits_Khw), at_once):
        full_KHW = upsample(logits_Khw[start : start + at_once], scale)
        stability_K = stability(full_KHW, threshold, offset)
        kept_K = (stability_K >= min_stability).nonzero().flatten()
        for i, value in zip(kept_K.tolist(), stability_K[kept_K].tolist(), strict=True):
            yield StableMask(start + i, value, Patch.of((full_KHW[i] > threshold).cpu().numpy()))


def fused_on_cpu(
    logits_Khw: Tensor, scale: Scale, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """`stable_masks` with the kernel for the CPU.

    As many masks at a time as torch has threads; a thread needs a byte for each pixel of the crop.
    """
    low_Khw = logits_Khw.numpy()
    steps = _steps(low_Khw.shape[1:], scale, torch.get_num_threads())
    levels = _levels(threshold, offset)

    def work(turns: range) -> list[StableMask]:
        mask_WH = np.zeros(scale.crop_hw[::-1], np.uint8)
        found = []
        for index in turns:
            inner, outer, box = fused.scan(np.ascontiguousarray(low_Khw[index].T), steps, levels, mask_WH)
            value = np.float32(inner) / np.float32(max(outer, 1))
            if value >= np.float32(min_stability):
                found.append(StableMask(index, float(value), Patch.cut(mask_WH, box)))
            mask_WH[box[0] : box[2] + 1, box[1] : box[3] + 1] = 0
        return found

    threads = min(torch.get_num_threads(), len(low_Khw))
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        parts = pool.map(work, (range(i, len(low_Khw), threads) for i in range(threads)))
        found = sorted(chain.from_iterable(parts), key=attrgetter("index"))
    yield from found


def fused_on_cuda(
    logits_Khw: Tensor, scale: Scale, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """`stable_masks` with the kernels for CUDA, all masks at once; on the CPU they need Triton's interpreter."""
    from sam_batch.masks.kernels import cuda as fused_cuda  # imports Triton, which is not everywhere

    geometry = _geometry_on_cuda((logits_Khw.shape[1], logits_Khw.shape[2]), scale, logits_Khw.device)
    levels = _levels(threshold, offset)
    inner_K, outer_K, boxes_K4 = fused_cuda.measure(logits_Khw, geometry, levels)
    stability_K = inner_K.astype(np.float32) / np.maximum(outer_K, 1).astype(np.float32)
    kept = np.flatnonzero(stability_K >= np.float32(min_stability))
    patches = fused_cuda.cut(logits_Khw, geometry, float(levels.threshold), kept, boxes_K4[kept])
    yield from map(StableMask, kept.tolist(), stability_K[kept].tolist(), patches)


@lru_cache(maxsize=16)
def _geometry_on_cuda(low_hw: tuple[int, int], scale: Scale, device: torch.device) -> "fused_cuda.Geometry":
    """The same for all prompts of a view, and often for the next image too."""
    from sam_batch.masks.kernels import cuda as fused_cuda

    to_input = bilinear.step_on_cuda(low_hw, (scale.side, scale.side))
    steps = fused.Steps(to_input, bilinear.step_on_cuda(scale.view_hw, scale.crop_hw))
    return fused_cuda.geometry(low_hw, steps, device)


def _levels(threshold: float, offset: float) -> fused.Levels:
    return fused.Levels(*map(np.float32, (threshold + offset, threshold, threshold - offset)))


def _steps(low_hw: Sequence[int], scale: Scale, threads: int) -> fused.Steps:
    to_input = bilinear.step((low_hw[0], low_hw[1]), (scale.side, scale.side), threads)
    return fused.Steps(to_input, bilinear.step(scale.view_hw, scale.crop_hw, threads))


@cache
def rounds_as_fused(threads: int) -> bool:
    """Whether torch's CPU kernels, of this release and on this processor, round as `bilinear` does.

    They do with AVX2 and later. Looked at once in a process, on a few thousand pixels of a large and a small crop.

    Args:
        threads: That torch has.
    """
    low_3hw = _sample()
    for scale in SAMPLE_SCALES:
        to_input, to_crop = _steps(low_3hw.shape[1:], scale, threads)
        ours_HW = bilinear.interpolate(bilinear.interpolate(low_3hw[0].numpy(), to_input), to_crop)
        if not np.array_equal(upsample(low_3hw, scale)[0].numpy(), ours_HW):
            return False
    return True


@cache
def works_on_cuda(device: torch.device) -> bool:
    """Whether Triton can build the kernels for a GPU here, and they find torch's masks; warns if not.

    Triton needs a C compiler, Python's headers and a GPU it knows. Looked at once in a process, like the rounding on
    the CPU; here a pixel in a thousand may be another, as a logit at the threshold may fall to either side.

    Raises:
        RuntimeError: Memory ran out, which says nothing about the kernels.
    """
    from sam_batch.masks.kernels import cuda as fused_cuda

    try:
        if all(_agree(_sample().to(device), scale) for scale in SAMPLE_SCALES):
            return True
        reason = "its masks are not torch's"
    except fused_cuda.FAILURES as error:
        if "out of memory" in str(error):  # torch's own error, or what Triton has for it
            raise
        reason = str(error)
    warnings.warn(f"masks go through torch step by step, as Triton does not work here: {reason}", stacklevel=1)
    return False


def _agree(low_Khw: Tensor, scale: Scale) -> bool:
    ours, theirs = (list(way(low_Khw, scale, 0.0, 0.1, 0.0)) for way in (fused_on_cuda, step_by_step))
    pairs = zip(ours, theirs, strict=True)
    different = sum(int((a.patch.unpack(*scale.crop_hw) ^ b.patch.unpack(*scale.crop_hw)).sum()) for a, b in pairs)
    return different * 1000 <= len(low_Khw) * scale.crop_hw[0] * scale.crop_hw[1]


def _sample() -> Tensor:
    """(3, 20, 20) logits of both signs."""
    return torch.rand((TOGETHER, 20, 20), generator=torch.Generator().manual_seed(0)) - 0.5


def upsample(logits_Khw: Tensor, scale: Scale) -> Tensor:
    """Logits at the crop's size: up to the model's input, without the padding, then to the crop.

    Two bilinear steps with the rounding between them, bit for bit segment-anything's `Sam.postprocess_masks` of a
    prompt's three masks. Which masks are computed together changes nothing.

    Returns:
        (K, H, W) float32.
    """
    padding = -len(logits_Khw) % TOGETHER
    groups_G3hw = F.pad(logits_Khw, (0, 0, 0, 0, 0, padding)).reshape(-1, TOGETHER, *logits_Khw.shape[1:])
    input_G3SS = F.interpolate(groups_G3hw, (scale.side, scale.side), mode="bilinear", align_corners=False)
    view_G3hw = input_G3SS[..., : scale.view_hw[0], : scale.view_hw[1]]
    crop_G3HW = F.interpolate(view_G3hw, scale.crop_hw, mode="bilinear", align_corners=False)
    return crop_G3HW.flatten(0, 1)[: len(logits_Khw)]


def stability(logits_KHW: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of the masks at the threshold plus and minus the offset; segment-anything's `calculate_stability_score`.

    Returns:
        (K,) float32; 0 where both masks are empty (the reference has NaN, which passes no threshold either).
    """
    inner_K, outer_K = (_count(logits_KHW > level) for level in (threshold + offset, threshold - offset))
    return (inner_K / outer_K).nan_to_num_(nan=0.0)


def _count(masks_KHW: Tensor) -> Tensor:
    """Mask pixels, (K,) int32. On the CPU torch's sum of booleans takes thirty times as long as NumPy's count."""
    if masks_KHW.device.type != "cpu":
        return masks_KHW.sum(dim=(1, 2), dtype=torch.int32)
    return torch.tensor([np.count_nonzero(one) for one in masks_KHW.numpy()], dtype=torch.int32)
