"""torch's bilinear interpolation on a CPU with fused multiply-add, bit for bit, as functions that numba compiles.

The order of the roundings is that of torch's kernel for three channels, the one that segment-anything's masks come
from. `interpolate` does one step as a whole; `fused` uses the pieces. It knows no torch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Corners: TypeAlias = tuple[np.float32, np.float32, np.float32, np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


def compiled(function: Function) -> Function:
    """Compile at the first call, without the GIL; keep the result on disk if numba finds a folder it may write to."""
    try:
        fast: Function = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # it found none
        fast = njit(nogil=True)(function)
    return fast


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


@compiled
def axis(n_in: int, n_out: int) -> Axis:
    """The axis of an interpolation with `align_corners=False`."""
    first, second = np.empty(n_out, np.int32), np.empty(n_out, np.int32)
    near, far = np.empty(n_out, np.float32), np.empty(n_out, np.float32)
    scale = np.float32(n_in) / np.float32(n_out)
    for out in range(n_out):
        at = np.float32(out) if n_in == n_out else max(_fma(scale, np.float32(out) + HALF, -HALF), ZERO)
        first[out] = min(int(at), n_in - 1)
        second[out] = min(first[out] + 1, n_in - 1)
        far[out] = min(max(at - np.float32(first[out]), ZERO), ONE)
        near[out] = ONE - far[out]
    return Axis(first, second, near, far)


@compiled
def blend(corners: Corners, x_near: np.float32, x_far: np.float32, y_near: np.float32, y_far: np.float32) -> np.float32:
    """Mix the upper left, upper right, lower left and lower right value."""
    a, b, c, d = corners
    upper = _fma(y_near * x_near, a, y_near * x_far * b)
    mixed: np.float32 = _fma(y_far * x_far, d, _fma(y_far * x_near, c, upper))
    return mixed


@compiled
def interpolate(image_hw: Floats, x: Axis, y: Axis) -> Floats:
    """One step.

    Args:
        image_hw: (h, w), of which the axes may leave the end unused.
        x: From columns to columns.
        y: From rows to rows.

    Returns:
        (H, W).
    """
    out_HW = np.empty((len(y.first), len(x.first)), np.float32)
    for i in range(len(y.first)):
        upper_w, lower_w = image_hw[y.first[i]], image_hw[y.second[i]]
        for j in range(len(x.first)):
            p, q = x.first[j], x.second[j]
            corners = (upper_w[p], upper_w[q], lower_w[p], lower_w[q])
            out_HW[i, j] = blend(corners, x.near[j], x.far[j], y.near[i], y.far[i])
    return out_HW
