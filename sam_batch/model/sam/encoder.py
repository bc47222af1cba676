"""SAM's image encoder, rearranged: the numbers of segment-anything's `ImageEncoderViT` in less time and memory.

- Attention has no matrix of biases (`model.sam.relative`).
- The biases of keys and values are not added to every cell. That of the keys adds the same to all logits of a query,
  which softmax does not see; the weights of the values sum to one, so theirs passes through the output projection,
  once. What pads the last windows then has keys and values of zero and is never projected, but still attended to: its
  relative positions count.
- Matrices are multiplied by what the CPU multiplies them fastest with, so many rows at a time as its cache likes.

Half precision is explicit, without autocast: matrices are multiplied in the precision of their weights, while norms,
the residual stream and the first convolution of the neck, which sees the stream, are float32.

Subscripts: N images, S side in pixels, gh and gw the sides of the grid of patches, C channels, R rows = cells.
"""

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn, unflatten
from torch.nn.functional import conv2d, pad
from torch.nn.functional import linear as multiply

from sam_batch.model.sam.attention import linear
from sam_batch.model.sam.norms import norm_exactly
from sam_batch.model.sam.relative import Projected, RelativeAttention, Way

IMAGE_ROWS = 1 << 12  # Cells of images that go through the encoder at once on a CPU: one of SAM's, 16 of the demo's.
BLOCK_ROWS = 1 << 9  # Cells at once between attentions on a CPU: 6 MB of an MLP of 3072 channels.


class Encoder(nn.Module):
    """The image encoder of a SAM, with its weights.

    Args:
        encoder: With absolute and relative positions, on its device and in its precision.
        way: Of attention, as in `model.sam.relative`: blocks for a CPU, extended for a GPU.
    """

    position: Tensor

    def __init__(self, encoder: ImageEncoderViT, way: Way) -> None:
        super().__init__()
        grid: tuple[int, int] = tuple(encoder.pos_embed.shape[1:3])
        self.in_blocks = way == "blocks"
        self.image_chunk = max(1, IMAGE_ROWS // (grid[0] * grid[1]))
        self.patches = encoder.patch_embed.proj
        self.position = encoder.pos_embed
        with torch.no_grad():
            self.blocks = nn.ModuleList(_Block(block, grid, way) for block in encoder.blocks)
        self.neck = _Neck(encoder.neck)

    def forward(self, images_N3SS: Tensor) -> Tensor:
        """Embed images that are normalised and padded.

        Returns:
            (N, C, gh, gw), in float32, or float64 where the weights are.
        """
        chunks = torch.split(images_N3SS, self.image_chunk) if self.in_blocks else [images_N3SS]
        return _join([self._embed(images) for images in chunks])

    def _embed(self, images_N3SS: Tensor) -> Tensor:
        cells_NghgwC = self._cut(images_N3SS) + self.position
        for block in self.blocks:
            cells_NghgwC = block(cells_NghgwC)
        return self.neck(cells_NghgwC)

    def _cut(self, images_N3SS: Tensor) -> Tensor:
        """(N, gh, gw, C), a convolution whose kernels do not overlap as the matrix product that it is."""
        _, height, width, _ = self.position.shape
        side = self.patches.weight.shape[-1]
        patches = images_N3SS.to(self.patches.weight.dtype)
        patches = unflatten(unflatten(patches, 3, (width, side)), 2, (height, side)).permute(0, 2, 4, 1, 3, 5)
        return multiply(patches.flatten(3), self.patches.weight.flatten(1), self.patches.bias)


class _Block(nn.Module):
    """A transformer block; its windows are cut after the projections, not before."""

    def __init__(self, block: Block, grid: tuple[int, int], way: Way) -> None:
        super().__init__()
        attention = block.attn
        self.window: int = block.window_size
        self.heads: int = attention.num_heads
        self.in_blocks = way == "blocks"
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.widen, self.activate, self.narrow = block.mlp.lin1, block.mlp.act, block.mlp.lin2
        weights, biases = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
        self.query, self.key, self.value = _layer(weights[0], biases[0]), _layer(weights[1]), _layer(weights[2])
        self.join = _layer(attention.proj.weight, multiply(biases[2], attention.proj.weight, attention.proj.bias))
        seen = (self.window, self.window) if self.window else grid
        self.attend = RelativeAttention(attention.rel_pos_h, attention.rel_pos_w, seen, way, weights[0].dtype)

    def forward(self, cells_NghgwC: Tensor) -> Tensor:
        grid = cells_NghgwC.shape[1:3]
        rows_RC = cells_NghgwC.flatten(0, 2)
        normed = self.norm1(rows_RC)
        query, key, value = (
            self._split(self._run(layer, normed).view_as(cells_NghgwC)) for layer in (self.query, self.key, self.value)
        )
        found_NghgwC = self._unsplit(self.attend(Projected(query, key, value)), grid)
        parts = zip(self._rows(rows_RC), self._rows(found_NghgwC.flatten(0, 2)), strict=True)
        return _join([self._finish(*part) for part in parts]).view_as(cells_NghgwC)

    def _finish(self, rows_RC: Tensor, found_RC: Tensor) -> Tensor:
        """All that concerns each cell alone: the output projection and the MLP, each with its residual."""
        rows_RC = rows_RC + self._run(self.join, found_RC)
        wide = self.activate(self._run(self.widen, self.norm2(rows_RC)))
        return rows_RC + self._run(self.narrow, wide)

    def _rows(self, rows_RC: Tensor) -> tuple[Tensor, ...]:
        return torch.split(rows_RC, BLOCK_ROWS) if self.in_blocks else (rows_RC,)

    def _run(self, layer: nn.Linear, rows_RC: Tensor) -> Tensor:
        return linear(layer, rows_RC) if self.in_blocks else layer(rows_RC.to(layer.weight.dtype))

    def _split(self, cells_NghgwC: Tensor) -> Tensor:
        """(B, H, gh, gw, D) of images or, with zeros beyond the image, of windows."""
        cells_NghgwHD = unflatten(cells_NghgwC, 3, (self.heads, -1))
        if not self.window:
            return cells_NghgwHD.permute(0, 3, 1, 2, 4)
        more = [-side % self.window for side in cells_NghgwC.shape[1:3]]
        cells_NghgwHD = pad(cells_NghgwHD, (0, 0, 0, 0, 0, more[1], 0, more[0]))
        windows = unflatten(unflatten(cells_NghgwHD, 2, (-1, self.window)), 1, (-1, self.window))
        return windows.permute(0, 1, 3, 5, 2, 4, 6).flatten(0, 2)

    def _unsplit(self, found_BHLD: Tensor, grid: torch.Size) -> Tensor:
        """(N, gh, gw, C) again."""
        height, width = grid
        if not self.window:
            return unflatten(found_BHLD.transpose(1, 2).flatten(2), 1, (height, width))
        down, across = -(-height // self.window), -(-width // self.window)
        windows = unflatten(unflatten(found_BHLD, 2, (self.window, self.window)), 0, (-1, down, across))
        return windows.permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4).flatten(1, 2)[:, :height, :width]


class _Neck(nn.Module):
    """Two convolutions, each with a norm over the channels."""

    narrow: nn.Conv2d
    norm1: LayerNorm2d
    smooth: nn.Conv2d
    norm2: LayerNorm2d

    def __init__(self, neck: nn.Sequential) -> None:
        super().__init__()
        self.narrow, self.norm1, self.smooth, self.norm2 = neck  # type: ignore[assignment]

    def forward(self, cells_NghgwC: Tensor) -> Tensor:
        """(N, C, gh, gw)."""
        weight = self.narrow.weight.flatten(1).to(cells_NghgwC.dtype)
        cells_NghgwC = norm_exactly(self.norm1, multiply(cells_NghgwC, weight)).to(self.smooth.weight.dtype)
        smooth = conv2d(cells_NghgwC.permute(0, 3, 1, 2), self.smooth.weight, padding=1)
        return norm_exactly(self.norm2, smooth.permute(0, 2, 3, 1).to(self.norm2.weight.dtype)).permute(0, 3, 1, 2)


def _join(parts: list[Tensor]) -> Tensor:
    """One after the other; what is alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _layer(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer around weights that are another module's."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer
