"""torch's bilinear interpolation on a CPU with fused multiply-add, bit for bit, as functions that numba compiles.

The roundings are those of three channels, which is how segment-anything interpolates a prompt's masks. torch has two
kernels for them, and takes one or the other by the number of its threads and the size of the output: of some hundred
million pixels, one changes sides between them. `interpolate` does one step; `fused` uses the pieces. It knows no torch.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from sam_batch.compiled import compiled

Floats: TypeAlias = NDArray[np.float32]
Corners: TypeAlias = tuple[np.float32, np.float32, np.float32, np.float32]

SMALL = 128  # height and width of an output, added, up to which torch takes the kernel of a single thread
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


class Axis(NamedTuple):
    """Which two inputs each output mixes along one axis, and how much of each.

    Attributes:
        first: (n_out,) positions, ascending.
        second: (n_out,) the next ones, except at the end.
        near: (n_out,) weights of the first.
        far: (n_out,) weights of the second.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    near: Floats
    far: Floats


@intrinsic
def _fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """Multiply, add, and round once."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), emit


class Step(NamedTuple):
    """One interpolation.

    Attributes:
        x: From columns to columns.
        y: From rows to rows.
        apart: Rows are mixed first, then what they gave; otherwise every corner has one weight. The roundings differ.
    """

    x: Axis
    y: Axis
    apart: bool


def step(in_hw: tuple[int, int], out_hw: tuple[int, int], threads: int) -> Step:
    """The interpolation with `align_corners=False`, rounded as torch does on a number of threads."""
    apart = threads > 1 and sum(out_hw) > SMALL
    return Step(_axis(in_hw[1], out_hw[1], apart), _axis(in_hw[0], out_hw[0], apart), apart)


def step_on_cuda(in_hw: tuple[int, int], out_hw: tuple[int, int]) -> Step:
    """The interpolation with `align_corners=False`, rounded as torch's kernel for CUDA.

    Its source leaves open which product of a sum is fused; here it is as in the machine code of torch 2.15.
    """
    return Step(_axis(in_hw[1], out_hw[1], False), _axis(in_hw[0], out_hw[0], False), True)


@compiled
def _axis(n_in: int, n_out: int, apart: bool) -> Axis:
    first, second = np.empty(n_out, np.int32), np.empty(n_out, np.int32)
    near, far = np.empty(n_out, np.float32), np.empty(n_out, np.float32)
    scale = np.float32(n_in) / np.float32(n_out)
    for out in range(n_out):
        middle = np.float32(out) + HALF
        at = max(scale * middle - HALF if apart else _fma(scale, middle, -HALF), ZERO)
        at = np.float32(out) if n_in == n_out else at
        first[out] = min(int(at), n_in - 1)
        second[out] = min(first[out] + 1, n_in - 1)
        far[out] = min(max(at - np.float32(first[out]), ZERO), ONE)
        near[out] = ONE - far[out]
    return Axis(first, second, near, far)


@compiled
def blend(corners: Corners, step: Step, column: int, row: int) -> np.float32:
    """Mix the upper left, upper right, lower left and lower right input of one output."""
    a, b, c, d = corners
    x_near, x_far, y_near, y_far = step.x.near[column], step.x.far[column], step.y.near[row], step.y.far[row]
    if step.apart:
        upper, lower = _fma(a, x_near, b * x_far), _fma(c, x_near, d * x_far)
        mixed: np.float32 = _fma(upper, y_near, lower * y_far)
    else:
        upper = _fma(y_near * x_near, a, y_near * x_far * b)
        mixed = _fma(y_far * x_far, d, _fma(y_far * x_near, c, upper))
    return mixed


@compiled
def interpolate(image_hw: Floats, step: Step) -> Floats:
    """All of one step: (h, w), of which it may leave the end unused, to (H, W)."""
    x, y = step.x, step.y
    out_HW = np.empty((len(y.first), len(x.first)), np.float32)
    for i in range(len(y.first)):
        upper_w, lower_w = image_hw[y.first[i]], image_hw[y.second[i]]
        for j in range(len(x.first)):
            p, q = x.first[j], x.second[j]
            out_HW[i, j] = blend((upper_w[p], upper_w[q], lower_w[p], lower_w[q]), step, j, i)
    return out_HW
