"""What `fused` does with one mask on the CPU, with all masks of a crop on a GPU: two Triton kernels, two passes.

The first counts and finds the boxes; the second writes the bits of chosen masks, inside their boxes, in the order of a
`Patch`. Both interpolate in registers and skip or fill the tiles that their low-resolution logits decide, so that no
logit of the crop's size is ever stored. Rounded as torch's own kernel is (`bilinear.step_on_cuda`).

Importing this module needs Triton, which torch brings along on Linux. Under TRITON_INTERPRET=1 it works on CPU tensors.
"""

from collections.abc import Iterator
from subprocess import SubprocessError
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor
from triton.errors import TritonError

from sam_batch.masks import fused
from sam_batch.masks.bilinear import Axis
from sam_batch.masks.fused import Levels, Steps
from sam_batch.masks.patch import Patch

FAILURES = (TritonError, SubprocessError, OSError, RuntimeError)  # where kernels cannot be built or launched
PROGRAMS = (1 << 31) - 1  # of one launch, the most that CUDA takes
WORDS = 1 << 26  # of 32 pixels, that wait on the GPU at a time: 256 MB
REACH = 32  # low-resolution logits a side; a tile that has more around it costs less computed than looked at
OPTIONS = {"num_warps": 2, "enable_fp_fusion": False}  # of a launch; what is to be fused is written so

ROWS, COLUMNS = tl.constexpr(32), tl.constexpr(16)  # of a tile; a column's pixels are the bits of a word
OUTSIDE, EDGE, INSIDE = tl.constexpr(fused.OUTSIDE), tl.constexpr(fused.EDGE), tl.constexpr(fused.INSIDE)
SLACK, TINY = tl.constexpr(float(fused.SLACK)), tl.constexpr(float(fused.TINY))
SIZES = ["low_h", "low_w", "height", "width", "strips"]  # every image has its own: no kernel for each


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


class Taps(NamedTuple):
    """Both steps along one axis, composed, for each output.

    Attributes:
        at: (4, n_out) int32; of low resolution, what the first and then the second input of the last step is made of.
        far: (3, n_out) float32 weights of the second: of the first input, of the second input, of the last step.
    """

    at: Tensor
    far: Tensor


def measure(low_Khw: Tensor, steps: Steps, levels: Levels) -> Measured:
    """Count every mask's pixels above the levels and find its box, without storing a pixel.

    Args:
        low_Khw: (K, h, w) float32 logits.
        steps: From them to the crop.
        levels: To compare with; `inner` is the highest, `outer` the lowest.
    """
    height, width = _crop(steps)
    nothing = torch.tensor([0, 0, width, height, -1, -1], dtype=torch.int32, device=low_Khw.device)
    found_K6 = nothing.repeat(len(low_Khw), 1)
    strips = triton.cdiv(width, COLUMNS.value)
    at_once = max(1, PROGRAMS // strips)
    low_Khw, geometry = low_Khw.contiguous(), _geometry(low_Khw, steps)
    for start in range(0, len(low_Khw), at_once):
        some_Khw, some_K6 = low_Khw[start : start + at_once], found_K6[start : start + at_once]
        with torch.cuda.device(low_Khw.get_device()):
            grid = (len(some_Khw) * strips,)
            _measure[grid](some_Khw, some_K6, *geometry, strips, *map(float, levels), **OPTIONS)
    figures_K6 = found_K6.cpu().numpy()
    boxes_K4 = figures_K6[:, 2:] * (figures_K6[:, 4:5] >= 0)
    return Measured(figures_K6[:, 0], figures_K6[:, 1], boxes_K4)


def cut(
    low_Khw: Tensor, steps: Steps, threshold: float, indices_N: NDArray[np.int64], boxes_N4: NDArray[np.int32]
) -> Iterator[Patch]:
    """Yield the chosen masks' pixels inside their boxes.

    As many of them at a time as fit into `WORDS`, or one that does not.

    Args:
        low_Khw: (K, h, w) float32 logits.
        steps: From them to the crop.
        threshold: Logits above it are mask.
        indices_N: Which masks.
        boxes_N4: What `measure` found for these.
    """
    low_Khw, geometry = low_Khw.contiguous(), _geometry(low_Khw, steps)
    boxes = boxes_N4.astype(np.int64)
    areas_N = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    words_N = -(-areas_N // 32)
    most = max(1, PROGRAMS // triton.cdiv(_crop(steps)[1], COLUMNS.value))
    for some in _portions(words_N, most):
        ends = np.cumsum(words_N[some])
        starts = ends - words_N[some]
        table_N6 = np.column_stack([indices_N[some], boxes[some], starts])
        packed = _pack(low_Khw, geometry, threshold, table_N6, int(ends[-1]))
        for box, start, area in zip(boxes[some].tolist(), starts.tolist(), areas_N[some].tolist(), strict=True):
            yield Patch(tuple(box), packed[4 * start : 4 * start + -(-area // 8)].tobytes())


def _portions(words_N: NDArray[np.int64], most: int) -> Iterator[slice]:
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
    low_Khw: Tensor, geometry: tuple[Tensor | int, ...], threshold: float, table_N6: NDArray[np.int64], n_words: int
) -> NDArray[np.uint8]:
    """The bits of all boxes, each from a word's start on, in the memory of the CPU."""
    words = torch.zeros(n_words, dtype=torch.int32, device=low_Khw.device)
    table = torch.from_numpy(table_N6).to(low_Khw.device)
    strips = triton.cdiv(int((table_N6[:, 3] - table_N6[:, 1]).max()) + 1, COLUMNS.value)
    with torch.cuda.device(low_Khw.get_device()):
        _cut[(len(table) * strips,)](low_Khw, table, words, *geometry, strips, float(threshold), **OPTIONS)
    host = torch.empty(n_words, dtype=torch.int32, pin_memory=words.is_cuda)
    return host.copy_(words).numpy().view(np.uint8)


def _crop(steps: Steps) -> tuple[int, int]:
    return len(steps.to_crop.y.first), len(steps.to_crop.x.first)


def _geometry(low_Khw: Tensor, steps: Steps) -> tuple[Tensor | int, ...]:
    """What both kernels are told of sizes and steps, in the order of their arguments."""
    y, x = _taps(steps.to_input.y, steps.to_crop.y), _taps(steps.to_input.x, steps.to_crop.x)
    reach = triton.next_power_of_2(max(8, _reach(y, ROWS.value), _reach(x, COLUMNS.value)))
    on_device = (part.to(low_Khw.device) for part in (*y, *x))
    return reach if reach <= REACH else 0, *on_device, *low_Khw.shape[1:], *_crop(steps)


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


@triton.jit
def _kind(
    low: tl.tensor, low_w: tl.tensor, y_at: tl.tensor, x_at: tl.tensor, height: tl.tensor, width: tl.tensor,
    top: tl.tensor, left: tl.tensor, above: tl.tensor, below: tl.tensor, REACH: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Whether no, some or all pixels of a tile may be above the levels: interpolation stays between its inputs."""
    kind = EDGE
    if REACH > 0:
        last_v = tl.load(y_at + 3 * height + tl.minimum(top + ROWS, height) - 1)
        last_u = tl.load(x_at + 3 * width + tl.minimum(left + COLUMNS, width) - 1)
        v = tl.minimum(tl.load(y_at + top) + tl.arange(0, REACH), last_v)
        u = tl.minimum(tl.load(x_at + left) + tl.arange(0, REACH), last_u)
        around = tl.load(low + v[:, None] * low_w + u[None, :])
        least, most = tl.min(around), tl.max(around)
        inside = least - SLACK * tl.abs(least) - TINY > above
        outside = most + SLACK * tl.abs(most) + TINY < below
        kind = tl.where(outside, OUTSIDE, tl.where(inside, INSIDE, EDGE))
    return kind


@triton.jit
def _mix(first: tl.tensor, second: tl.tensor, far: tl.tensor) -> tl.tensor:
    return tl.fma(1.0 - far, first, far * second)


@triton.jit
def _input(
    low: tl.tensor, first_v: tl.tensor, second_v: tl.tensor, far_v: tl.tensor,
    first_u: tl.tensor, second_u: tl.tensor, far_u: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """First step: logits at some rows and columns of the model's input."""
    upper = _mix(tl.load(low + first_v + first_u), tl.load(low + first_v + second_u), far_u)
    lower = _mix(tl.load(low + second_v + first_u), tl.load(low + second_v + second_u), far_u)
    return _mix(upper, lower, far_v)


@triton.jit
def _logits(
    low: tl.tensor, low_w: tl.tensor, y_at: tl.tensor, y_far: tl.tensor, x_at: tl.tensor, x_far: tl.tensor,
    height: tl.tensor, width: tl.tensor, y: tl.tensor, x: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """Both steps for (ROWS, 1) rows and (1, COLUMNS) columns of the crop; beyond its end, the last one again."""
    y, x = tl.minimum(y, height - 1), tl.minimum(x, width - 1)
    v0, v1 = tl.load(y_at + y) * low_w, tl.load(y_at + height + y) * low_w
    v2, v3 = tl.load(y_at + 2 * height + y) * low_w, tl.load(y_at + 3 * height + y) * low_w
    u0, u1 = tl.load(x_at + x), tl.load(x_at + width + x)
    u2, u3 = tl.load(x_at + 2 * width + x), tl.load(x_at + 3 * width + x)
    far_v, far_v2 = tl.load(y_far + y), tl.load(y_far + height + y)
    far_u, far_u2 = tl.load(x_far + x), tl.load(x_far + width + x)
    last_x = tl.load(x_far + 2 * width + x)
    upper_left, upper_right = _input(low, v0, v1, far_v, u0, u1, far_u), _input(low, v0, v1, far_v, u2, u3, far_u2)
    lower_left, lower_right = _input(low, v2, v3, far_v2, u0, u1, far_u), _input(low, v2, v3, far_v2, u2, u3, far_u2)
    upper, lower = _mix(upper_left, upper_right, last_x), _mix(lower_left, lower_right, last_x)
    return _mix(upper, lower, tl.load(y_far + 2 * height + y))


@triton.jit(do_not_specialize=SIZES)
def _measure(
    low: tl.tensor, found: tl.tensor, REACH: tl.constexpr, y_at: tl.tensor, y_far: tl.tensor, x_at: tl.tensor,
    x_far: tl.tensor, low_h: tl.tensor, low_w: tl.tensor, height: tl.tensor, width: tl.tensor, strips: tl.tensor,
    above: tl.tensor, threshold: tl.tensor, below: tl.tensor,
) -> None:  # fmt: skip
    """One mask's strip of columns, from top to bottom."""
    mask = tl.program_id(0) // strips
    left = tl.program_id(0) % strips * COLUMNS
    low += mask.to(tl.int64) * low_h * low_w
    found += mask.to(tl.int64) * 6
    x = left + tl.arange(0, COLUMNS)[None, :]
    inner, outer = 0, 0
    x0, y0, x1, y1 = width, height, -1, -1
    for top in range(0, height, ROWS):
        kind = _kind(low, low_w, y_at, x_at, height, width, top, left, above, below, REACH)
        y = top + tl.arange(0, ROWS)[:, None]
        within = (y < height) & (x < width)
        if kind == EDGE:
            logits = _logits(low, low_w, y_at, y_far, x_at, x_far, height, width, y, x)
            bits = within & (logits > threshold)
            inner += tl.sum((within & (logits > above)).to(tl.int32))
            outer += tl.sum((within & (logits > below)).to(tl.int32))
            x0, x1 = tl.minimum(x0, tl.min(tl.where(bits, x, width))), tl.maximum(x1, tl.max(tl.where(bits, x, -1)))
            y0, y1 = tl.minimum(y0, tl.min(tl.where(bits, y, height))), tl.maximum(y1, tl.max(tl.where(bits, y, -1)))
        elif kind == INSIDE:
            bottom, right = tl.minimum(top + ROWS, height), tl.minimum(left + COLUMNS, width)
            inner += (bottom - top) * (right - left)
            outer += (bottom - top) * (right - left)
            x0, x1 = left, right - 1
            y0, y1 = tl.minimum(y0, top), bottom - 1
    if outer > 0:
        tl.atomic_add(found, inner, sem="relaxed")
        tl.atomic_add(found + 1, outer, sem="relaxed")
    if y1 >= 0:
        tl.atomic_min(found + 2, x0, sem="relaxed")
        tl.atomic_min(found + 3, y0, sem="relaxed")
        tl.atomic_max(found + 4, x1, sem="relaxed")
        tl.atomic_max(found + 5, y1, sem="relaxed")


@triton.jit
def _or(words: tl.tensor, word: tl.tensor) -> None:
    """Add 32 pixels, the first in the highest bit, to memory whose bytes follow each other."""
    swapped = (word << 24) | ((word & 0xFF00) << 8) | ((word >> 8) & 0xFF00) | (word >> 24)
    tl.atomic_or(words, swapped.to(tl.int32, bitcast=True), mask=word != 0, sem="relaxed")


@triton.jit(do_not_specialize=SIZES)
def _cut(
    low: tl.tensor, table: tl.tensor, words: tl.tensor, REACH: tl.constexpr, y_at: tl.tensor, y_far: tl.tensor,
    x_at: tl.tensor, x_far: tl.tensor, low_h: tl.tensor, low_w: tl.tensor, height: tl.tensor, width: tl.tensor,
    strips: tl.tensor, threshold: tl.tensor,
) -> None:  # fmt: skip
    """A strip of columns of one mask's box; its tiles start at the box's own corner."""
    table += (tl.program_id(0) // strips).to(tl.int64) * 6
    x0, y0 = tl.load(table + 1).to(tl.int32), tl.load(table + 2).to(tl.int32)
    x1, y1 = tl.load(table + 3).to(tl.int32), tl.load(table + 4).to(tl.int32)
    left = x0 + tl.program_id(0) % strips * COLUMNS
    if left > x1:
        return
    low += tl.load(table) * low_h * low_w
    words += tl.load(table + 5)
    x = left + tl.arange(0, COLUMNS)
    row = tl.arange(0, ROWS)[:, None]
    for top in range(y0, y1 + 1, ROWS):
        kind = _kind(low, low_w, y_at, x_at, height, width, top, left, threshold, threshold, REACH)
        if kind != OUTSIDE:
            bits = (top + row <= y1) & (x[None, :] <= x1)
            if kind == EDGE:
                logits = _logits(low, low_w, y_at, y_far, x_at, x_far, height, width, top + row, x[None, :])
                bits = bits & (logits > threshold)
            column = tl.sum(bits.to(tl.uint32) << (31 - row).to(tl.uint32), axis=0)
            start = (x - x0) * (y1 - y0 + 1) + top - y0
            shift = (start % 32).to(tl.uint32)
            _or(words + start // 32, column >> shift)
            _or(words + start // 32 + 1, column << (31 - shift) << 1)
