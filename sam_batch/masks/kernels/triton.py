"""Triton kernels from low-resolution logits to counts, boxes and packed bits. `cuda` launches them.

They interpolate in registers, so that no logit of the crop's size is ever stored, and skip or fill the tiles that their
low-resolution logits decide. A program works on a strip of columns of one mask, from top to bottom.

They round as `bilinear.mix` does: its multiply-add is written out, and the compiler is told to fuse nothing else. Sizes
of masks fit into 32 bits, of batches not.
"""

import triton
import triton.language as tl

from sam_batch.masks.kernels import cpu

OPTIONS = {"num_warps": 2, "enable_fp_fusion": False}  # of a launch; what is to be fused is written so
ROWS, COLUMNS = tl.constexpr(32), tl.constexpr(16)  # of a tile; a column's pixels are the bits of a word
OUTSIDE, EDGE, INSIDE = tl.constexpr(cpu.OUTSIDE), tl.constexpr(cpu.EDGE), tl.constexpr(cpu.INSIDE)
SLACK, TINY = tl.constexpr(float(cpu.SLACK)), tl.constexpr(float(cpu.TINY))
SIZES = ["low_h", "low_w", "height", "width", "strips"]  # every image has its own: no kernel for each


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
def measure_strip(
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
def cut_strip(
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
