"""The decoder's layer norms over many rows, with the sum before them and the conversion after them.

torch goes through the memory once for each: to convert what was found to float32, to add it to the residual stream, to
norm the sum, to convert it for the matrices that follow. On a CPU it is one pass, which numba compiles.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from sam_batch.compiled import reordered

Floats: TypeAlias = NDArray[np.float32]
Bits: TypeAlias = NDArray[np.uint16]

ONE, SIXTEEN, HALF_LESS = np.uint32(1), np.uint32(16), np.uint32(0x7FFF)
NAN = np.uint16(0x7FC0)  # in bfloat16


class Cells(NamedTuple):
    """The cells of one image, (1, L, C), or of each prompt's own, (P, L, C).

    Attributes:
        exact: The residual stream, in the precision of norms.
        low: The same in the precision of matrices.
    """

    exact: Tensor
    low: Tensor


def add_and_norm(cells: Tensor, found_PLC: Tensor, norm: nn.LayerNorm) -> Cells:
    """Add what was found to the residual stream, and norm the sum.

    Args:
        cells: (1, L, C) or (P, L, C), in the precision of norms.
        found_PLC: In the precision of matrices; may be overwritten.
        norm: Over the channels.
    """
    if not _has_kernel(found_PLC, norm):
        exact = norm_exactly(norm, found_PLC.to(cells.dtype).add_(cells))
        return Cells(exact, exact.to(found_PLC.dtype))
    if found_PLC.dtype == cells.dtype:
        exact = low = norm_rows(found_PLC, norm, cells)
    else:
        exact = torch.empty(found_PLC.shape, dtype=cells.dtype)
        low = _in_one_pass(found_PLC, norm, cells, exact)
    return Cells(exact, low)


def norm_rows(rows: Tensor, norm: nn.LayerNorm | LayerNorm2d, cells: Tensor | None = None) -> Tensor:
    """Norm rows (..., C), in their own precision.

    Args:
        rows: May be overwritten.
        norm: Over the channels, which come last.
        cells: What is added to the rows first, as in `add_and_norm`.
    """
    if not _has_kernel(rows, norm):
        exact = rows.to(norm.weight.dtype)
        return norm_exactly(norm, exact if cells is None else exact.add_(cells)).to(rows.dtype)
    scratch = rows.new_empty((1, rows.shape[-1]), dtype=torch.float32)
    return _in_one_pass(rows, norm, scratch[:0] if cells is None else cells, scratch)


def norm_exactly(norm: nn.LayerNorm | LayerNorm2d, rows: Tensor) -> Tensor:
    """Norm rows (..., C) in the norm's precision, whichever of segment-anything's two kinds it is."""
    return layer_norm(rows, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def _has_kernel(rows: Tensor, norm: nn.LayerNorm | LayerNorm2d) -> bool:
    if torch.is_grad_enabled() or rows.device.type != "cpu":
        return False
    return norm.weight.dtype == torch.float32 and rows.dtype in (torch.float32, torch.bfloat16)


def _in_one_pass(rows: Tensor, norm: nn.LayerNorm | LayerNorm2d, cells: Tensor, exact: Tensor) -> Tensor:
    """Add cells, if there are any, and norm, in place; float32 rows of half precision also go to `exact`."""
    rows = rows.contiguous()
    affine = norm.weight.detach().numpy(), norm.bias.detach().numpy(), np.float32(norm.eps)
    if rows.dtype == torch.float32:
        _add_and_norm(_array(rows), _array(cells), *affine)
    else:
        _add_and_norm_bfloat16(_array(rows.view(torch.uint16)), _array(cells), _array(exact), *affine)
    return rows


def _array(rows: Tensor) -> NDArray[Any]:
    """(R, C) of (..., C)."""
    array: NDArray[Any] = rows.flatten(0, -2).numpy()
    return array


@reordered
def _add_and_norm(rows_RC: Floats, cells_LC: Floats, weight_C: Floats, bias_C: Floats, eps: np.float32) -> None:
    """Row by row; the cells of one image serve several times."""
    for index in range(len(rows_RC)):
        row = rows_RC[index]
        if len(cells_LC):
            cell = cells_LC[index % len(cells_LC)]
            for channel in range(len(row)):
                row[channel] += cell[channel]
        _norm_row(row, weight_C, bias_C, eps)


@reordered
def _add_and_norm_bfloat16(
    rows_RC: Bits, cells_LC: Floats, exact_RC: Floats, weight_C: Floats, bias_C: Floats, eps: np.float32
) -> None:
    """The same with the bits of bfloat16, which NumPy does not know; of `exact_RC` one row will do."""
    for index in range(len(rows_RC)):
        row, exact = rows_RC[index], exact_RC[index % len(exact_RC)]
        for channel in range(len(row)):
            exact[channel] = np.uint32(np.uint32(row[channel]) << SIXTEEN).view(np.float32)
        if len(cells_LC):
            cell = cells_LC[index % len(cells_LC)]
            for channel in range(len(row)):
                exact[channel] += cell[channel]
        _norm_row(exact, weight_C, bias_C, eps)
        for channel in range(len(row)):
            row[channel] = _to_bfloat16(exact[channel])


@reordered
def _norm_row(row_C: Floats, weight_C: Floats, bias_C: Floats, eps: np.float32) -> None:
    total, squares, count = np.float32(0), np.float32(0), np.float32(len(row_C))
    for channel in range(len(row_C)):
        total += row_C[channel]
    mean = total / count
    for channel in range(len(row_C)):
        apart = row_C[channel] - mean
        squares += apart * apart
    scale = np.float32(1) / np.sqrt(squares / count + eps)
    for channel in range(len(row_C)):
        row_C[channel] = (row_C[channel] - mean) * scale * weight_C[channel] + bias_C[channel]


@reordered
def _to_bfloat16(value: np.float32) -> np.uint16:
    """Its bits, rounded to the nearest, ties to even."""
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> SIXTEEN) & ONE)
    rounded = np.uint16(np.uint32(bits + np.uint32(HALF_LESS + odd)) >> SIXTEEN)
    return rounded if value == value else NAN  # only NaN is not itself
