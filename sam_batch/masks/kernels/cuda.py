"""Logits to stable masks on a GPU: what `cpu` does with one mask, with all masks of a crop, in two passes of `triton`.

The first counts and finds the boxes; the second writes the bits of chosen masks, inside their boxes, in the order of a
`Patch`. What is copied to the CPU is six numbers a mask, and the bits.

Importing this module needs Triton, which torch brings along on Linux. Under TRITON_INTERPRET=1 it works on CPU tensors.
"""

from collections.abc import Iterator
from functools import lru_cache
from subprocess import SubprocessError
from typing import NamedTuple

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor
from triton.errors import TritonError

from sam_batch.masks.kernels import triton as kernels
from sam_batch.masks.kernels.bilinear import Axis, Steps, steps_for
from sam_batch.masks.kernels.cpu import Levels, levels_at
from sam_batch.masks.logits import Scale, StableMask
from sam_batch.masks.patch import Patch

# Where kernels cannot be built or launched; Triton asserts that it finds the driver.
FAILURES = (TritonError, SubprocessError, OSError, RuntimeError, AssertionError)
PROGRAMS = (1 << 31) - 1  # of one launch, the most that CUDA takes
WORDS = 1 << 26  # of 32 pixels, that wait on the GPU at a time: 256 MB
REACH = 32  # low-resolution logits a side; a tile that has more around it costs less computed than looked at


class Measured(NamedTuple):
    """Of each mask.

    Attributes:
        inner: (K,) int32, pixels above the inner level.
        outer: (K,) int32, pixels above the outer level.
        boxes: (K, 4) int32 xyxy of the outermost pixels above the threshold; zeros where there is none.
    """

    inner: NDArray[np.int32]
    outer: NDArray[np.int32]
    boxes: NDArray[np.int32]


class Geometry(NamedTuple):
    """What both kernels are told of sizes and steps, in the order of their arguments, and the size of the crop.

    Attributes:
        reach: Low-resolution logits a side around any tile, as a power of two; 0 if they are too many to be looked at.
        y_at: `Taps.at` of the rows, on the device.
        y_far: `Taps.far` of the rows, on the device.
        x_at: Of the columns.
        x_far: Likewise.
        low_h: Height of the low-resolution logits.
        low_w: Their width.
        height: Of the crop.
        width: Likewise.
    """

    reach: int
    y_at: Tensor
    y_far: Tensor
    x_at: Tensor
    x_far: Tensor
    low_h: int
    low_w: int
    height: int
    width: int


class Taps(NamedTuple):
    """Both steps along one axis, composed, for each output.

    Attributes:
        at: (4, n_out) int32; of low resolution, what the first and then the second input of the last step is made of.
        far: (3, n_out) float32 weights of the second: of the first input, of the second input, of the last step.
    """

    at: Tensor
    far: Tensor


def stable_masks(
    logits_Khw: Tensor, scale: Scale, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """See `choose.stable_masks`; all masks at once."""
    where = _geometry_of((logits_Khw.shape[1], logits_Khw.shape[2]), scale, logits_Khw.device)
    levels = levels_at(threshold, offset)
    inner_K, outer_K, boxes_K4 = measure(logits_Khw, where, levels)
    stability_K = inner_K.astype(np.float32) / np.maximum(outer_K, 1).astype(np.float32)
    kept = np.flatnonzero(stability_K >= np.float32(min_stability))
    patches = cut(logits_Khw, where, float(levels.threshold), kept, boxes_K4[kept])
    yield from map(StableMask, kept.tolist(), stability_K[kept].tolist(), patches)


@lru_cache(maxsize=16)
def _geometry_of(low_hw: tuple[int, int], scale: Scale, device: torch.device) -> Geometry:
    """The same for all prompts of a view, and often for the next image too."""
    return geometry(low_hw, steps_for(low_hw, scale), device)


def geometry(low_hw: tuple[int, int], steps: Steps, device: torch.device) -> Geometry:
    """Put what the kernels need to know of sizes and steps on a device. The CPU waits for that, so keep it.

    Args:
        low_hw: Height and width of the low-resolution logits.
        steps: From them to the crop.
        device: Of the logits.
    """
    y, x = _taps(steps.to_input.y, steps.to_crop.y), _taps(steps.to_input.x, steps.to_crop.x)
    reach = triton.next_power_of_2(max(8, _reach(y, kernels.ROWS.value), _reach(x, kernels.COLUMNS.value)))
    y_at, y_far, x_at, x_far = (part.to(device) for part in (*y, *x))
    sizes = (*low_hw, y_at.shape[1], x_at.shape[1])
    return Geometry(reach if reach <= REACH else 0, y_at, y_far, x_at, x_far, *sizes)


def measure(low_Khw: Tensor, geometry: Geometry, levels: Levels) -> Measured:
    """Count every mask's pixels above the levels and find its box, without storing a pixel.

    Args:
        low_Khw: (K, h, w) float32 logits.
        geometry: From them to the crop.
        levels: To compare with; `inner` is the highest, `outer` the lowest.
    """
    found_K6 = torch.zeros((len(low_Khw), 6), dtype=torch.int32, device=low_Khw.device)
    # Boxes start beyond both ends of the crop; filled in, as the CPU would wait for a copy.
    found_K6[:, 2:4] = torch.iinfo(torch.int32).max
    found_K6[:, 4:] = -1
    strips = triton.cdiv(geometry.width, kernels.COLUMNS.value)
    at_once = max(1, PROGRAMS // strips)
    low_Khw = low_Khw.contiguous()
    for start in range(0, len(low_Khw), at_once):
        some_Khw, some_K6 = low_Khw[start : start + at_once], found_K6[start : start + at_once]
        with torch.cuda.device(low_Khw.get_device()):
            grid = (len(some_Khw) * strips,)
            kernels.measure_strip[grid](some_Khw, some_K6, *geometry, strips, *map(float, levels), **kernels.OPTIONS)
    figures_K6 = found_K6.cpu().numpy()
    boxes_K4 = figures_K6[:, 2:] * (figures_K6[:, 4:5] >= 0)
    return Measured(figures_K6[:, 0], figures_K6[:, 1], boxes_K4)


def cut(
    low_Khw: Tensor, geometry: Geometry, threshold: float, indices_N: NDArray[np.int64], boxes_N4: NDArray[np.int32]
) -> Iterator[Patch]:
    """Yield the chosen masks' pixels inside their boxes.

    As many of them at a time as fit into `WORDS`, or one that does not.

    Args:
        low_Khw: (K, h, w) float32 logits.
        geometry: From them to the crop.
        threshold: Logits above it are mask.
        indices_N: Which masks.
        boxes_N4: What `measure` found for these.
    """
    low_Khw = low_Khw.contiguous()
    boxes = boxes_N4.astype(np.int64)
    areas_N = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    words_N = -(-areas_N // 32)
    most = max(1, PROGRAMS // triton.cdiv(geometry.width, kernels.COLUMNS.value))
    for some in portions(words_N, most):
        ends = np.cumsum(words_N[some])
        starts = ends - words_N[some]
        table_N6 = np.column_stack([indices_N[some], boxes[some], starts])
        packed = _pack(low_Khw, geometry, threshold, table_N6, int(ends[-1]))
        for box, start, area in zip(boxes[some].tolist(), starts.tolist(), areas_N[some].tolist(), strict=True):
            yield Patch(tuple(box), packed[4 * start : 4 * start + -(-area // 8)].tobytes())


def portions(words_N: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Neighbours that together have no more than `WORDS`, and are no more than `most`."""
    ends_N = np.cumsum(words_N)
    start = 0
    while start < len(words_N):
        before = ends_N[start] - words_N[start]
        stop = int(np.searchsorted(ends_N, before + WORDS, side="right"))
        stop = min(max(stop, start + 1), start + most)
        yield slice(start, stop)
        start = stop


def _pack(
    low_Khw: Tensor, geometry: Geometry, threshold: float, table_N6: NDArray[np.int64], n_words: int
) -> NDArray[np.uint8]:
    """The bits of all boxes, each from a word's start on, in the memory of the CPU."""
    words = torch.zeros(n_words, dtype=torch.int32, device=low_Khw.device)
    table = torch.from_numpy(table_N6).to(low_Khw.device, non_blocking=True)
    strips = triton.cdiv(int((table_N6[:, 3] - table_N6[:, 1]).max()) + 1, kernels.COLUMNS.value)
    with torch.cuda.device(low_Khw.get_device()):
        kernels.cut_strip[(len(table) * strips,)](
            low_Khw, table, words, *geometry, strips, float(threshold), **kernels.OPTIONS
        )
    host = torch.empty(n_words, dtype=torch.int32, pin_memory=words.is_cuda)
    return host.copy_(words).numpy().view(np.uint8)


def _taps(to_input: Axis, to_crop: Axis) -> Taps:
    ends = (to_crop.first, to_crop.second)
    at = [low[end] for end in ends for low in (to_input.first, to_input.second)]
    far = [*(to_input.far[end] for end in ends), to_crop.far]
    return Taps(torch.from_numpy(np.stack(at)), torch.from_numpy(np.stack(far)))


def _reach(taps: Taps, tile: int) -> int:
    """The most low-resolution positions that lie around the outputs of one tile, wherever it starts."""
    n_out = taps.at.shape[1]
    lasts = (torch.arange(n_out) + tile - 1).clamp(max=n_out - 1)
    return int((taps.at[3][lasts] - taps.at[0]).max()) + 1
