"""SAM's image encoder as a module that exports to a clean ONNX graph.

It computes what segment-anything's `ImageEncoderViT` does, with its weights, for images of one size. What pads the
last windows is never projected: without their biases its keys and values are zero. That of the keys adds the same to
all logits of a query, which softmax does not see; that of the values passes through, since the weights sum to one. The
module is not meant to be fast in eager torch.

What the places of query and key add to a logit is q . R_y of their rows and q . R_x of their columns. For windows that
is written out. For attention over the whole image that would be most of an encoder's memory and half of its traffic, so
there are three forms, equal in real arithmetic (`Positions`):

    written: a matrix as large as the logits.
    tiled: rows as further channels of queries and keys, [q, q . R_y] . [k, onehot(y)]; columns as one row of biases
        repeated for each row of keys, which compilers repeat inside a fused attention, if images come one by one.
    folded: rows and columns as further channels.

In half precision matrices and attention are half; the residual stream, norms and the neck's first convolution, which
sees the stream, are float32, by casts in the module: SAM's norms overflow float16 (segment-anything issue 540).

Subscripts: N images, S their side in pixels, s that of the embedding, n windows, H heads, D channels of a head,
C channels.
"""

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Attention, Block, get_rel_pos
from torch import Tensor, nn

from sam_batch.model.family import Positions
from sam_batch.model.sam.graph_parts import attend, lowered, norm2d, rebiased, with_bias_before


class EncoderGraph(nn.Module):
    """`sam.image_encoder`: normalised images to embeddings.

    Args:
        sam: float32, on the CPU, in eval mode.
        dtype: Of matrices and of what the graph returns.
        operator: Leave attention to torch's scaled_dot_product_attention, which opset 23 has as one operator.
        positions: How attention over the whole image takes them.
    """

    position: Tensor

    def __init__(
        self, sam: Sam, dtype: torch.dtype, *, operator: bool = False, positions: Positions = "written"
    ) -> None:
        super().__init__()
        encoder = sam.image_encoder
        cells: int = encoder.pos_embed.shape[1]
        self.dtype = dtype
        self.patches = lowered(encoder.patch_embed.proj, dtype)
        self.register_buffer("position", encoder.pos_embed.detach())
        self.blocks = nn.ModuleList(_Block(block, cells, dtype, operator, positions) for block in encoder.blocks)
        self.narrow, self.narrow_norm, smooth, self.smooth_norm = encoder.neck
        self.smooth = lowered(smooth, dtype)

    def forward(self, images_N3SS: Tensor) -> Tensor:
        """(N, 3, S, S) float32 to (N, C, s, s)."""
        cells_NssC = self.patches(images_N3SS.to(self.dtype)).permute(0, 2, 3, 1).float() + self.position
        for block in self.blocks:
            cells_NssC = block(cells_NssC)
        embedding = norm2d(self.narrow_norm, self.narrow(cells_NssC.permute(0, 3, 1, 2)))
        return norm2d(self.smooth_norm, self.smooth(embedding.to(self.dtype)).float()).to(self.dtype)


class _Block(nn.Module):
    """segment-anything's `Block`."""

    def __init__(self, block: Block, cells: int, dtype: torch.dtype, operator: bool, positions: Positions) -> None:
        super().__init__()
        mlp = block.mlp
        self.dtype = dtype
        self.norm1, self.norm2 = block.norm1, block.norm2
        if block.window_size or positions == "written":
            window = block.window_size or cells
            self.attention = _WindowAttention(block.attn, cells, window, dtype, operator)
        else:
            self.attention = _GlobalAttention(block.attn, cells, dtype, operator, positions)
        self.first, self.act, self.second = lowered(mlp.lin1, dtype), mlp.act, lowered(mlp.lin2, dtype)

    def forward(self, cells_NssC: Tensor) -> Tensor:
        cells_NssC = cells_NssC + self.attention(self.norm1(cells_NssC).to(self.dtype)).float()
        hidden = self.act(self.first(self.norm2(cells_NssC).to(self.dtype)))
        return cells_NssC + self.second(hidden).float()


class _WindowAttention(nn.Module):
    """Attention within square windows, or one of the whole image, with relative positions by row and by column."""

    rows: Tensor
    columns: Tensor

    def __init__(self, attention: Attention, cells: int, window: int, dtype: torch.dtype, operator: bool) -> None:
        super().__init__()
        self.cells, self.window, self.operator = cells, window, operator
        self.padding = -cells % window
        self.heads: int = attention.num_heads
        query, key, value = attention.qkv.bias.detach().chunk(3)
        only_query = torch.cat([query, torch.zeros_like(key), torch.zeros_like(value)])
        self.qkv = lowered(rebiased(attention.qkv, only_query), dtype)
        self.proj = lowered(with_bias_before(attention.proj, value), dtype)
        for name, table in (("rows", attention.rel_pos_h), ("columns", attention.rel_pos_w)):
            by_place = get_rel_pos(window, window, table.detach()).mT  # (place of the query, D, place of the key)
            self.register_buffer(name, by_place.contiguous().to(dtype))

    def forward(self, cells_NssC: Tensor) -> Tensor:
        """(N, s, s, C), to the same."""
        length, channels = self.window**2, cells_NssC.shape[3]
        qkv = self._cut(self.qkv(cells_NssC)).reshape(-1, length, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (n, H, length, D)
        found = self._attend(query * query.shape[3] ** -0.5, key, value, *self._places(query))
        return self.proj(self._join(found.transpose(1, 2).reshape(-1, length, channels)))

    def _places(self, query_nHLD: Tensor) -> tuple[Tensor, Tensor]:
        """(n, H, length, window) each, what the rows and what the columns of keys add to the logits."""
        side, length = self.window, self.window**2
        placed = query_nHLD.reshape(-1, self.heads, side, side, query_nHLD.shape[3])
        by_row = placed @ self.rows
        by_column = (placed.transpose(2, 3) @ self.columns).transpose(2, 3)
        by_row, by_column = (one.reshape(-1, self.heads, length, side) for one in (by_row, by_column))
        return by_row, by_column

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
        """(n, H, length, D) of scaled queries, keys and values of the same."""
        bias = (by_row[..., :, None] + by_column[..., None, :]).reshape(-1, self.heads, *2 * [self.window**2])
        return self._softmax(query, key, value, bias)

    def _softmax(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        if self.operator:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        return attend(query, key, value, bias)

    def _cut(self, values_NssC: Tensor) -> Tensor:
        """(n, length, C); windows over the edge are filled with zeros, which attention sees."""
        window, channels = self.window, values_NssC.shape[3]
        if window == self.cells:
            return values_NssC.reshape(-1, window * window, channels)
        count = (self.cells + self.padding) // window
        padded = F.pad(values_NssC, (0, 0, 0, self.padding, 0, self.padding)) if self.padding else values_NssC
        windows = padded.reshape(-1, count, window, count, window, channels).transpose(2, 3)
        return windows.reshape(-1, window * window, channels)

    def _join(self, windows_nLC: Tensor) -> Tensor:
        """(N, s, s, C) again."""
        window, channels = self.window, windows_nLC.shape[2]
        if window == self.cells:
            return windows_nLC.reshape(-1, window, window, channels)
        side = self.cells + self.padding
        cells = windows_nLC.reshape(-1, side // window, side // window, window, window, channels).transpose(2, 3)
        return cells.reshape(-1, side, side, channels)[:, : self.cells, : self.cells]


class _GlobalAttention(_WindowAttention):
    """Over the whole image, with places as further channels of queries and keys: tiled or folded."""

    places: Tensor

    def __init__(
        self, attention: Attention, cells: int, dtype: torch.dtype, operator: bool, positions: Positions
    ) -> None:
        super().__init__(attention, cells, cells, dtype, operator)
        self.is_folded = positions == "folded"
        side = torch.eye(cells)
        onehots = [side.repeat_interleave(cells, 0), side.repeat(cells, 1)][: 1 + self.is_folded]
        channels = attention.qkv.in_features // self.heads
        self.register_buffer("places", F.pad(torch.cat(onehots, dim=1), (channels, 0)).to(dtype))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
        channels = value.shape[3]
        more = self.places.shape[1] - channels
        longer = torch.cat([query, by_row, by_column] if self.is_folded else [query, by_row], dim=-1)
        bias = None if self.is_folded else by_column.repeat(1, 1, 1, self.window)
        # Fused attention wants values as long as keys. Adding the places needs no size computed at run time.
        found = self._softmax(longer, F.pad(key, (0, more)) + self.places, F.pad(value, (0, more)), bias)
        return found[..., :channels]
