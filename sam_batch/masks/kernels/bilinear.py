"""The two bilinear interpolations between logits and pixels, as tables and a function that numba compiles.

They round in one way of their own, whatever torch is there: a position along an axis with one fused multiply-add, the
mix of two inputs with another, columns before rows; all in float32, with `align_corners=False`. torch rounds like this
on a GPU, and up to release 2.14 in several threads of a CPU. Where it rounds otherwise it is as near to the exact value
as this is: a pixel differs only where its logit lies within rounding of the threshold.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from sam_batch.compiled import compiled
from sam_batch.masks.logits import Scale

Floats: TypeAlias = NDArray[np.float32]

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


class Axis(NamedTuple):
    """Which two inputs each output mixes along one axis, and how much of the second.

    Attributes:
        first: (n_out,) positions, ascending.
        second: (n_out,) the next ones, except at the end.
        far: (n_out,) weights of the second; the first has what is left of 1.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    far: Floats


class Step(NamedTuple):
    """One interpolation: from columns to columns, and from rows to rows."""

    x: Axis
    y: Axis


class Steps(NamedTuple):
    """From low resolution to the model's input, and from the part of it that is not padding to the crop."""

    to_input: Step
    to_crop: Step


def steps_for(low_hw: tuple[int, int], scale: Scale) -> Steps:
    """Both interpolations of low-resolution logits of a size."""
    return Steps(step(low_hw, (scale.side, scale.side)), step(scale.view_hw, scale.crop_hw))


def step(in_hw: tuple[int, int], out_hw: tuple[int, int]) -> Step:
    """One interpolation, from one height and width to another."""
    return Step(_axis(in_hw[1], out_hw[1]), _axis(in_hw[0], out_hw[0]))


@intrinsic
def _fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """Multiply, add, and round once."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), emit


@compiled
def _axis(n_in: int, n_out: int) -> Axis:
    first, second, far = np.empty(n_out, np.int32), np.empty(n_out, np.int32), np.empty(n_out, np.float32)
    scale = np.float32(n_in) / np.float32(n_out)
    for out in range(n_out):
        # The middle of an output pixel among the middles of the inputs; before the first of them there is only it.
        at = max(_fma(scale, np.float32(out) + HALF, -HALF), ZERO)
        at = np.float32(out) if n_in == n_out else at
        first[out] = min(int(at), n_in - 1)
        second[out] = min(first[out] + 1, n_in - 1)
        far[out] = min(max(at - np.float32(first[out]), ZERO), ONE)
    return Axis(first, second, far)


@compiled
def mix(first: np.float32, second: np.float32, far: np.float32) -> np.float32:
    """From the first value, where `far` is 0, to the second, where it is 1."""
    mixed: np.float32 = _fma(first, ONE - far, second * far)
    return mixed
