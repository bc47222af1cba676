"""Logits to stable masks on a CPU: interpolation, counts, threshold and box of one mask in one pass.

An interpolated logit lies between the least and the greatest low-resolution logit around it: where these are all below
or all above the levels, tiles are skipped or filled, and no pixel is computed. `scan` knows no torch and works in one
thread, without the GIL; `stable_masks` gives every thread a mask of its own.

What is computed goes by columns, as run lengths do. Each of the two steps mixes two columns, then two rows of that; of
the interpolated images there is never more than this:

    low resolution (u, v)           model's input (x, y)                 crop

    low_wh[left]   low_wh[right]    columns_2y[0]   columns_2y[1]
          │              │                │               │
          └───── mix ────┘                └────── mix ────┘
                  │                               │
    across[v] ────┤                 across[y] ────┤
                 mix                             mix
    across[v+1] ──┤                 across[y+1] ──┤
                  │                               │
                  └─ one pixel of a column        └─ a logit, compared with the levels
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sam_batch.compiled import compiled
from sam_batch.masks.grids import Box
from sam_batch.masks.kernels.bilinear import Axis, Floats, Step, Steps, mix, steps_for
from sam_batch.masks.logits import Scale, StableMask
from sam_batch.masks.patch import Patch
from sam_batch.records import UInt8Array

TILE = 16  # crop pixels a side
SLACK = np.float32(1e-5)  # share of a logit; two steps round by less than a tenth of it
TINY = np.float32(1e-30)  # and below this, weights and logits may vanish
OUTSIDE, EDGE, INSIDE = -1, 0, 1  # kinds of tiles


class Levels(NamedTuple):
    """What logits are compared with, from the highest to the lowest."""

    inner: np.float32
    threshold: np.float32
    outer: np.float32


class Span(NamedTuple):
    """Rows or columns, up to before `stop`."""

    start: int
    stop: int


class Canvas(NamedTuple):
    """A mask of 0 and 1, and which columns and rows have a pixel."""

    mask_WH: UInt8Array
    columns_W: UInt8Array
    rows_H: UInt8Array


class Scratch(NamedTuple):
    """Two neighbouring columns of the model's input, and what two columns mix to, of either step."""

    columns_2y: Floats
    across: Floats


class Scanned(NamedTuple):
    """Pixels above the inner and the outer level, and the box (x0, y0, x1, y1) of those above the threshold."""

    inner: int
    outer: int
    box: Box


def stable_masks(
    logits_Khw: Tensor, scale: Scale, threshold: float, offset: float, min_stability: float
) -> Iterator[StableMask]:
    """See `choose.stable_masks`.

    As many masks at a time as torch has threads; a thread needs a byte for each pixel of the crop.
    """
    low_Khw = logits_Khw.numpy()
    steps, levels = steps_for(low_Khw.shape[1:], scale), levels_at(threshold, offset)

    def work(turns: range) -> list[StableMask]:
        mask_WH = np.zeros(scale.crop_hw[::-1], np.uint8)
        stable = []
        for index in turns:
            inner, outer, box = scan(np.ascontiguousarray(low_Khw[index].T), steps, levels, mask_WH)
            stability = np.float32(inner) / np.float32(max(outer, 1))
            if stability >= np.float32(min_stability):
                stable.append(StableMask(index, float(stability), Patch.cut(mask_WH, box)))
            mask_WH[box[0] : box[2] + 1, box[1] : box[3] + 1] = 0
        return stable

    threads = min(torch.get_num_threads(), len(low_Khw))
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        parts = pool.map(work, (range(i, len(low_Khw), threads) for i in range(threads)))
        stable = sorted(chain.from_iterable(parts), key=attrgetter("index"))
    yield from stable


def levels_at(threshold: float, offset: float) -> Levels:
    """In the precision of logits."""
    return Levels(*map(np.float32, (threshold + offset, threshold, threshold - offset)))


@compiled
def scan(low_wh: Floats, steps: Steps, levels: Levels, mask_WH: UInt8Array) -> Scanned:
    """Up-sample one mask's logits, count, threshold and find the box.

    Args:
        low_wh: (w, h) low-resolution logits, transposed.
        steps: From them to the crop.
        levels: To compare with.
        mask_WH: (W, H) zeros; what is above the threshold becomes 1, and all of it lies in the box.
    """
    width, height = mask_WH.shape
    canvas = Canvas(mask_WH, np.zeros(width, np.uint8), np.zeros(height, np.uint8))
    n_rows = len(steps.to_input.y.first)
    scratch = Scratch(np.empty((2, n_rows), np.float32), np.empty(max(n_rows, low_wh.shape[1]), np.float32))
    extremes_2h = np.empty((2, low_wh.shape[1]), np.float32)
    inner, outer = 0, 0
    for left in range(0, width, TILE):
        xs = Span(left, min(left + TILE, width))
        _find_extremes(low_wh, steps, xs, extremes_2h)
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
    return Scanned(inner, outer, _box(canvas))


@compiled
def _find_extremes(low_wh: Floats, steps: Steps, xs: Span, extremes_2h: Floats) -> None:
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
    x_axis, y_axis = steps.to_crop
    rows = Span(y_axis.first[ys.start], y_axis.second[ys.stop - 1] + 1)  # of the model's input, under the tile
    inner, outer = 0, 0
    # The two columns under one of the crop are neighbours, so one is odd and one even: each has its place, and stays
    # there for the next columns of the crop, which lie over the same two or one further.
    held = np.full(2, -1)
    for x in range(xs.start, xs.stop):
        first, second = x_axis.first[x], x_axis.second[x]
        for column in (first, second):
            if held[column % 2] != column:
                _interpolate(low_wh, steps.to_input, column, rows, scratch.across, scratch.columns_2y[column % 2])
                held[column % 2] = column
        left_y, right_y = scratch.columns_2y[first % 2], scratch.columns_2y[second % 2]
        for y in range(rows.start, rows.stop):
            scratch.across[y] = mix(left_y[y], right_y[y], x_axis.far[x])
        more = _threshold(scratch.across, y_axis, levels, canvas, x, ys)
        inner, outer = inner + more[0], outer + more[1]
    return inner, outer


@compiled
def _interpolate(low_wh: Floats, step: Step, x: int, rows: Span, across_h: Floats, column_y: Floats) -> None:
    """First step: some rows of one column of the model's input."""
    left_h, right_h = low_wh[step.x.first[x]], low_wh[step.x.second[x]]
    for v in range(step.y.first[rows.start], step.y.second[rows.stop - 1] + 1):
        across_h[v] = mix(left_h[v], right_h[v], step.x.far[x])
    for y in range(rows.start, rows.stop):
        column_y[y] = mix(across_h[step.y.first[y]], across_h[step.y.second[y]], step.y.far[y])


@compiled
def _threshold(across_y: Floats, axis: Axis, levels: Levels, canvas: Canvas, x: int, ys: Span) -> tuple[int, int]:
    """End of the second step: some rows of one column of the crop, compared with the levels."""
    mask_H, rows_H = canvas.mask_WH[x], canvas.rows_H
    inner, outer, any_bit = 0, 0, np.uint8(0)
    for y in range(ys.start, ys.stop):
        logit = mix(across_y[axis.first[y]], across_y[axis.second[y]], axis.far[y])
        bit = np.uint8(logit > levels.threshold)
        mask_H[y] = bit
        rows_H[y] |= bit
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
