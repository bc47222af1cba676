"""Self attention with decomposed relative positions, without the matrix of biases.

segment-anything adds to each logit q . k a term q . R_y for the difference of rows and one for that of columns, and
for that writes a matrix of the size of the logits: 768 MB for one image in vit_b. There are two ways to the same
numbers here, equal in real arithmetic:

    extended: the two terms as further dimensions of the heads, [q, q . R_y, q . R_x] . [k, onehot(y), onehot(x)], so
        that any flash attention without a bias serves. For CUDA; which kernel is fastest there is not measured.
    blocks: a megabyte or two of logits at a time, for the cache of a CPU. There it takes half to two thirds of the
        time of torch's flash attention.

Subscripts: B images or windows, H heads, y and x the cell of a query, gh and gw the grid's sides, L = gh * gw cells, D
channels of a head.
"""

from typing import Literal, NamedTuple

import torch
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from sam_batch.model.sam.attention import product

Way = Literal["extended", "blocks"]

BLOCK = 1 << 19  # logits at a time: 2 MB in float32, 1 MB in half
LANES = 32  # From this many columns on a CPU adds rows of biases faster than it multiplies further dimensions.
ALIGNED = 16  # Channels of a head are extended to a multiple of this.


class Projected(NamedTuple):
    """What attends to what.

    Attributes:
        query: (B, H, gh, gw, D), not scaled.
        key: (B, H, gh, gw, D).
        value: (B, H, gh, gw, D).
    """

    query: Tensor
    key: Tensor
    value: Tensor


class RelativeAttention(nn.Module):
    """softmax(q . k / sqrt(D) + q . R_y + q . R_x) v.

    Args:
        rows: segment-anything's `rel_pos_h`, one vector a difference of rows.
        columns: Its `rel_pos_w`.
        grid: (gh, gw).
        way: See the module's docstring.
        dtype: Of queries, keys and values.
    """

    rows_yDgh: Tensor
    columns_xDgw: Tensor
    onehot_LE: Tensor

    def __init__(self, rows: Tensor, columns: Tensor, grid: tuple[int, int], way: Way, dtype: torch.dtype) -> None:
        super().__init__()
        height, width = grid
        channels = rows.shape[1]
        self.scale: float = channels**-0.5
        self.in_blocks = way == "blocks"
        self.is_extended = not self.in_blocks or width < LANES
        more = -(channels + height + width) % ALIGNED if self.is_extended else 0
        tables = get_rel_pos(height, height, rows).mT, pad(get_rel_pos(width, width, columns).mT, (0, more))
        cells = torch.eye(height).repeat_interleave(width, 0), pad(torch.eye(width).repeat(height, 1), (0, more))
        self.register_buffer("rows_yDgh", tables[0].to(dtype).contiguous(), persistent=False)
        self.register_buffer("columns_xDgw", tables[1].to(dtype).contiguous(), persistent=False)
        self.register_buffer("onehot_LE", torch.cat(cells, 1).to(rows.device, dtype), persistent=False)

    def forward(self, projected: Projected) -> Tensor:
        """(B, H, L, D), what each cell finds."""
        query = projected.query
        rows = (query @ self.rows_yDgh).flatten(2, 3)
        columns = (query.transpose(2, 3) @ self.columns_xDgw).transpose(2, 3).flatten(2, 3)
        query, key, value = (
            (query * self.scale).flatten(2, 3),
            projected.key.flatten(2, 3),
            projected.value.flatten(2, 3),
        )
        if self.is_extended:
            query = torch.cat([query, rows, columns], -1)
            key = torch.cat([key, self.onehot_LE.expand(*key.shape[:2], -1, -1)], -1)
        if not self.in_blocks:
            return _flash(query, key, value)
        biases = None if self.is_extended else (rows.flatten(0, 1), columns.flatten(0, 1))
        return _in_blocks(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), biases).view_as(value)


def _flash(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Torch's flash attention wants values as wide as the keys."""
    channels = value.shape[-1]
    wide = pad(value, (0, key.shape[-1] - channels))
    return scaled_dot_product_attention(query, key, wide, scale=1.0)[..., :channels]


def _in_blocks(query: Tensor, key: Tensor, value: Tensor, biases: tuple[Tensor, Tensor] | None) -> Tensor:
    """(G, L, D) of as many queries, keys and values at a time as have `BLOCK` logits.

    Float32 matrices go one by one, since torch multiplies batches of them at half the speed.
    """
    count, cells = query.shape[:2]
    group = 1 if query.dtype == torch.float32 else max(1, BLOCK // cells**2)
    rows = max(1, BLOCK // (group * cells))
    found = torch.empty_like(value, memory_format=torch.contiguous_format)
    for g in range(0, count, group):
        some = slice(g, g + group)
        keys, values = key[some].contiguous(), value[some].contiguous()  # oneDNN is a hundred times slower on others
        for t in range(0, cells, rows):
            part = some, slice(t, t + rows)
            logits = product(query[part], keys.mT)
            if biases is not None:
                _add(logits, *(bias[part] for bias in biases))
            found[part] = product(logits.softmax(-1), values)
    return found


def _add(logits_GtL: Tensor, rows_Gtgh: Tensor, columns_Gtgw: Tensor) -> None:
    logits_Gtghgw = torch.unflatten(logits_GtL, -1, (rows_Gtgh.shape[-1], -1))
    logits_Gtghgw += rows_Gtgh[..., :, None]
    logits_Gtghgw += columns_Gtgw[..., None, :]
