"""One mask's two bilinear steps, the counts behind its stability, its threshold and its box, in one pass.

The pixels are those of `logits.upsample` to the last bit, where `bilinear` rounds as torch does; a few columns of them
are all that exists at a time. An interpolated logit lies between the least and the greatest low-resolution logit
around it: where these are all below or all above the levels, tiles are skipped or filled, and no pixel is computed.
It knows no torch, and works in one thread, without the GIL.
"""

from typing import NamedTuple

import numpy as np

from sam_batch.compiled import compiled
from sam_batch.masks.grids import Box
from sam_batch.masks.kernels.bilinear import Floats, Step, blend
from sam_batch.records import UInt8Array

TILE = 16  # output pixels a side
SLACK = np.float32(1e-5)  # share of a logit; two steps round by less than a tenth of it
TINY = np.float32(1e-30)  # and below this, weights and logits may vanish
OUTSIDE, EDGE, INSIDE = -1, 0, 1  # kinds of tiles


class Steps(NamedTuple):
    """From low resolution to the model's input, and from the part of it that is not padding to the crop."""

    to_input: Step
    to_crop: Step


class Levels(NamedTuple):
    """What logits are compared with, from the highest to the lowest."""

    inner: np.float32
    threshold: np.float32
    outer: np.float32


class Span(NamedTuple):
    """Rows or columns of the crop, up to before `stop`."""

    start: int
    stop: int


class Canvas(NamedTuple):
    """A mask of 0 and 1, and which columns and rows have a pixel."""

    mask_WH: UInt8Array
    columns_W: UInt8Array
    rows_H: UInt8Array


class Scratch(NamedTuple):
    """A column of the model's input, and two of them as the crop's rows take their first and second input of each."""

    column_v: Floats
    ends_22H: Floats


class Found(NamedTuple):
    """Pixels above the inner and the outer level, and the box (x0, y0, x1, y1) of those above the threshold."""

    inner: int
    outer: int
    box: Box


@compiled
def scan(low_wh: Floats, steps: Steps, levels: Levels, mask_WH: UInt8Array) -> Found:
    """Up-sample one mask's logits, count, threshold and find the box.

    Args:
        low_wh: (w, h) low-resolution logits, transposed: run lengths go by columns, and so does this.
        steps: From them to the crop.
        levels: To compare with.
        mask_WH: (W, H) zeros; what is above the threshold becomes 1, and all of it lies in the box.
    """
    width, height = mask_WH.shape
    canvas = Canvas(mask_WH, np.zeros(width, np.uint8), np.zeros(height, np.uint8))
    scratch = Scratch(np.empty(len(steps.to_input.y.first), np.float32), np.empty((2, 2, height), np.float32))
    extremes_2h = np.empty((2, low_wh.shape[1]), np.float32)
    inner, outer = 0, 0
    for left in range(0, width, TILE):
        xs = Span(left, min(left + TILE, width))
        _measure(low_wh, steps, xs, extremes_2h)
        top = 0
        while top < height:
            kind, ys = _next_tiles(top, height, extremes_2h, steps, levels)
            more = (0, 0)
            if kind == INSIDE:
                more = _fill(canvas, xs, ys)
            elif kind == EDGE:
                more = _compute(low_wh, steps, levels, canvas, scratch, xs, ys)
            inner, outer = inner + more[0], outer + more[1]
            top = ys.stop
    return Found(inner, outer, _box(canvas))


@compiled
def _measure(low_wh: Floats, steps: Steps, xs: Span, extremes_2h: Floats) -> None:
    """The least and the greatest logit of each low-resolution row, over what reaches some columns of the crop."""
    start = steps.to_input.x.first[steps.to_crop.x.first[xs.start]]
    stop = steps.to_input.x.second[steps.to_crop.x.second[xs.stop - 1]] + 1
    least_h, most_h = extremes_2h[0], extremes_2h[1]
    least_h[:] = low_wh[start]
    most_h[:] = low_wh[start]
    for u in range(start + 1, stop):
        for v in range(low_wh.shape[1]):
            least_h[v] = min(least_h[v], low_wh[u, v])
            most_h[v] = max(most_h[v], low_wh[u, v])


@compiled
def _next_tiles(top: int, height: int, extremes_2h: Floats, steps: Steps, levels: Levels) -> tuple[int, Span]:
    """The kind of the tile at the top, and how far down the tiles are of that kind."""
    bottom = min(top + TILE, height)
    kind = _kind(Span(top, bottom), extremes_2h, steps, levels)
    while bottom < height:
        below = Span(bottom, min(bottom + TILE, height))
        if _kind(below, extremes_2h, steps, levels) != kind:
            break
        bottom = below.stop
    return kind, Span(top, bottom)


@compiled
def _kind(ys: Span, extremes_2h: Floats, steps: Steps, levels: Levels) -> int:
    """Whether no, some or all pixels of a tile may be above the levels."""
    start = steps.to_input.y.first[steps.to_crop.y.first[ys.start]]
    stop = steps.to_input.y.second[steps.to_crop.y.second[ys.stop - 1]] + 1
    least, most = extremes_2h[0, start], extremes_2h[1, start]
    for v in range(start + 1, stop):
        least, most = min(least, extremes_2h[0, v]), max(most, extremes_2h[1, v])
    if most + SLACK * abs(most) + TINY < levels.outer:
        return OUTSIDE
    if least - SLACK * abs(least) - TINY > levels.inner:
        return INSIDE
    return EDGE


@compiled
def _fill(canvas: Canvas, xs: Span, ys: Span) -> tuple[int, int]:
    canvas.mask_WH[xs.start : xs.stop, ys.start : ys.stop] = 1
    canvas.columns_W[xs.start : xs.stop] = 1
    canvas.rows_H[ys.start : ys.stop] = 1
    area = (xs.stop - xs.start) * (ys.stop - ys.start)
    return area, area


@compiled
def _compute(
    low_wh: Floats, steps: Steps, levels: Levels, canvas: Canvas, scratch: Scratch, xs: Span, ys: Span
) -> tuple[int, int]:
    """Interpolate the pixels; returns how many are above the inner and the outer level."""
    inner, outer = 0, 0
    held = np.full(2, -1)  # neighbours differ in parity, so each has its place
    for x in range(xs.start, xs.stop):
        first, second = steps.to_crop.x.first[x], steps.to_crop.x.second[x]
        for u in (first, second):
            if held[u % 2] != u:
                _spread(low_wh, steps, ys, u, scratch.column_v, scratch.ends_22H[u % 2])
                held[u % 2] = u
        left_2H, right_2H = scratch.ends_22H[first % 2], scratch.ends_22H[second % 2]
        more = _threshold(left_2H, right_2H, steps, levels, canvas, x, ys)
        inner, outer = inner + more[0], outer + more[1]
    return inner, outer


@compiled
def _spread(low_wh: Floats, steps: Steps, ys: Span, u: int, column_v: Floats, ends_2H: Floats) -> None:
    """First step for one column of the model's input, and what the crop's rows take from it."""
    x, y, crop = steps.to_input.x, steps.to_input.y, steps.to_crop.y
    left_h, right_h = low_wh[x.first[u]], low_wh[x.second[u]]
    for v in range(crop.first[ys.start], crop.second[ys.stop - 1] + 1):
        p, q = y.first[v], y.second[v]
        column_v[v] = blend((left_h[p], right_h[p], left_h[q], right_h[q]), steps.to_input, u, v)
    for i in range(ys.start, ys.stop):
        ends_2H[0, i] = column_v[crop.first[i]]
        ends_2H[1, i] = column_v[crop.second[i]]


@compiled
def _threshold(
    left_2H: Floats, right_2H: Floats, steps: Steps, levels: Levels, canvas: Canvas, x: int, ys: Span
) -> tuple[int, int]:
    """Second step for one column of the crop, compared with the levels."""
    mask_H, rows_H = canvas.mask_WH[x], canvas.rows_H
    inner, outer, any_bit = 0, 0, np.uint8(0)
    for i in range(ys.start, ys.stop):
        corners = (left_2H[0, i], right_2H[0, i], left_2H[1, i], right_2H[1, i])
        logit = blend(corners, steps.to_crop, x, i)
        bit = np.uint8(logit > levels.threshold)
        mask_H[i] = bit
        rows_H[i] |= bit
        any_bit |= bit
        inner += int(logit > levels.inner)
        outer += int(logit > levels.outer)
    canvas.columns_W[x] |= any_bit
    return inner, outer


@compiled
def _box(canvas: Canvas) -> Box:
    """From the first to the last column and row with a pixel; the first pixel where there is none."""
    columns, rows = np.nonzero(canvas.columns_W)[0], np.nonzero(canvas.rows_H)[0]
    if len(columns) == 0:
        return 0, 0, 0, 0
    return columns[0], rows[0], columns[-1], rows[-1]
