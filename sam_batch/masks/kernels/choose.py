"""Which way masks take from logits to pixels on a device: found out once in a process, and always said.

On the CPU it is the compiled kernel, whatever torch is there; on CUDA the Triton kernels, if a trial finds that they
work. torch's own operators are left for other devices, and for GPUs where Triton fails: that is slow, and warned of.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sam_batch.masks import logits
from sam_batch.masks.kernels import cpu
from sam_batch.masks.logits import Scale, StableMask

TRIAL_SCALES = (Scale(80, (61, 80), (97, 131)), Scale(80, (80, 47), (55, 31)))  # a larger and a smaller crop


class Way(NamedTuple):
    """How masks are made on a device.

    Attributes:
        name: For people.
        why: The reason it is this one.
        stable_masks: As `stable_masks`, with its settings in order.
    """

    name: str
    why: str
    stable_masks: Callable[[Tensor, Scale, float, float, float], Iterator[StableMask]]


def stable_masks(
    logits_Khw: Tensor, scale: Scale, *, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """Yield the masks whose stability reaches a minimum, in the order of the logits.

    Args:
        logits_Khw: (K, h, w) float32, on any device.
        scale: From them to the crop.
        threshold: Logits above it are mask.
        offset: Shift of the threshold when stability is measured.
        min_stability: 0 to 1; 0 keeps every mask, empty ones too.
    """
    return way(logits_Khw.device).stable_masks(logits_Khw, scale, threshold, offset, min_stability)


def describe(device: str | torch.device) -> str:
    """The way taken on a device of this process, why, and what it depends on."""
    name, why, _ = way(torch.device(device))
    return f"{name} ({why}), torch {torch.__version__}, {torch.get_num_threads()} CPU threads"


@cache
def way(device: torch.device) -> Way:
    """The fastest way that works on a device; warns if it is the slow one.

    Raises:
        RuntimeError: Memory ran out during the trial, which says nothing about the kernels.
    """
    if device.type == "cpu":
        return Way("compiled kernel", "always on a CPU", cpu.stable_masks)
    fault = _fault(device)
    if fault:
        warnings.warn(f"masks go through torch step by step, which is slow: {fault}", stacklevel=1)
        return Way("torch step by step", fault, logits.stable_masks)
    from sam_batch.masks.kernels import cuda

    return Way("Triton kernels", f"they work on {torch.cuda.get_device_name(device)}", cuda.stable_masks)


def _fault(device: torch.device) -> str:
    """Why the Triton kernels cannot be used on a device, or nothing."""
    if device.type != "cuda":
        return f"there are no kernels for {device.type}"
    try:
        return trial(device)
    except ImportError as error:
        return f"Triton cannot be imported: {error}"


def trial(device: torch.device) -> str:
    """Try the Triton kernels on a few thousand pixels: why they cannot be used, or nothing.

    Triton needs a C compiler, Python's headers and a GPU it knows. A pixel in a thousand may be another than on the
    CPU, as a logit at the threshold may fall to either side.

    Raises:
        ImportError: There is no Triton.
        RuntimeError: Memory ran out.
    """
    from sam_batch.masks.kernels import cuda

    low_Khw = torch.rand((3, 20, 20), generator=torch.Generator().manual_seed(0)) - 0.5
    try:
        for scale in TRIAL_SCALES:
            found = cuda.stable_masks(low_Khw.to(device), scale, 0.0, 0.1, 0.0)
            expected = cpu.stable_masks(low_Khw, scale, 0.0, 0.1, 0.0)
            if _share_of_other_pixels(found, expected, scale.crop_hw) > 1e-3:
                return "the Triton kernels find other masks than the CPU"
    except cuda.FAILURES as error:
        if "out of memory" in str(error):  # torch's own error, or what Triton has for it
            raise
        return f"Triton does not work here: {error}"
    return ""


def _share_of_other_pixels(
    found: Iterable[StableMask], expected: Iterable[StableMask], crop_hw: tuple[int, int]
) -> float:
    pairs = zip(found, expected, strict=True)
    return float(np.mean([a.patch.unpack(*crop_hw) != b.patch.unpack(*crop_hw) for a, b in pairs]))
