"""SAM as modules that export to clean ONNX graphs: the image encoder, and the mask decoder's two halves.

They compute what segment-anything's modules do, with its weights, arranged as in `model.attention` and
`model.upscaler`: prompts share the first layer's projections of the image; later, the few tokens are projected into
the image's channels instead of every cell. What is written differently here is what a compiler of graphs sees: sizes
are constants but for the first, no einsum, no indexing, no boolean masks, attention as products around a softmax with
the scale on the queries alone. They are not meant to be fast in eager torch.

In half precision matrices and attention are half; the residual stream, norms, the masks that come as prompts, the IoU
head and the neck's first convolution are float32, by casts in the modules. Weights given in float32 are shared, others
copied.

Subscripts: N images or, inside the decoder, cells; P prompts, T tokens, H heads, D channels of a head, C channels.
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Block, get_rel_pos
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn

from sam_batch.model.upscaler import Upscaler

_Module = TypeVar("_Module", bound=nn.Module)


class EncoderGraph(nn.Module):
    """`sam.image_encoder`: normalised images to embeddings.

    Args:
        sam: float32, on the CPU, in eval mode.
        dtype: Of matrices and of what the graph returns.
        operator: Leave attention to torch's scaled_dot_product_attention, which opset 23 has as one operator.
    """

    position: Tensor

    def __init__(self, sam: Sam, dtype: torch.dtype, *, operator: bool = False) -> None:
        super().__init__()
        encoder = sam.image_encoder
        self.patches = _lowered(encoder.patch_embed.proj, dtype)
        self.register_buffer("position", encoder.pos_embed.detach())
        self.blocks = nn.ModuleList(_EncoderBlock(block, self._cells(sam), dtype, operator) for block in encoder.blocks)
        self.narrow, self.narrow_norm, smooth, self.smooth_norm = encoder.neck
        self.smooth = _lowered(smooth, dtype)

    @staticmethod
    def _cells(sam: Sam) -> int:
        side: int = sam.prompt_encoder.image_embedding_size[0]
        return side

    def forward(self, images_N3SS: Tensor) -> Tensor:
        """(N, 3, S, S) float32 to (N, C, s, s)."""
        dtype = self.smooth.weight.dtype
        cells_NssC = self.patches(images_N3SS.to(dtype)).permute(0, 2, 3, 1).float() + self.position
        for block in self.blocks:
            cells_NssC = block(cells_NssC)
        embedding = _norm2d(self.narrow_norm, self.narrow(cells_NssC.permute(0, 3, 1, 2)))
        return _norm2d(self.smooth_norm, self.smooth(embedding.to(dtype)).float()).to(dtype)


class _EncoderBlock(nn.Module):
    """segment-anything's `Block`, for images of one size, with or without windows."""

    def __init__(self, block: Block, cells: int, dtype: torch.dtype, operator: bool) -> None:
        super().__init__()
        self.cells, self.window = cells, block.window_size or cells
        self.padding = -cells % self.window
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.attention = _WindowAttention(block.attn, self.window, dtype, operator)
        self.first, self.act, self.second = (
            _lowered(block.mlp.lin1, dtype),
            block.mlp.act,
            _lowered(block.mlp.lin2, dtype),
        )

    def forward(self, cells_NssC: Tensor) -> Tensor:
        dtype = self.first.weight.dtype
        attended = self._join(self.attention(self._windows(self.norm1(cells_NssC).to(dtype))))
        cells_NssC = cells_NssC + attended.float()
        return cells_NssC + self.second(self.act(self.first(self.norm2(cells_NssC).to(dtype)))).float()

    def _windows(self, cells_NssC: Tensor) -> Tensor:
        """(N x windows, window x window, C); windows over the edge are filled with zeros, which attention sees."""
        window, channels = self.window, cells_NssC.shape[3]
        if window == self.cells:
            return cells_NssC.reshape(-1, window * window, channels)
        count = (self.cells + self.padding) // window
        padded = F.pad(cells_NssC, (0, 0, 0, self.padding, 0, self.padding)) if self.padding else cells_NssC
        windows = padded.reshape(-1, count, window, count, window, channels).transpose(2, 3)
        return windows.reshape(-1, window * window, channels)

    def _join(self, windows: Tensor) -> Tensor:
        """The inverse of `_windows`, (N, s, s, C)."""
        window, channels = self.window, windows.shape[2]
        if window == self.cells:
            return windows.reshape(-1, window, window, channels)
        side = self.cells + self.padding
        cells = windows.reshape(-1, side // window, side // window, window, window, channels).transpose(2, 3)
        return cells.reshape(-1, side, side, channels)[:, : self.cells, : self.cells]


class _WindowAttention(nn.Module):
    """segment-anything's attention of the image encoder, with relative positions by row and by column."""

    rows: Tensor
    columns: Tensor

    def __init__(self, attention: nn.Module, side: int, dtype: torch.dtype, operator: bool) -> None:
        super().__init__()
        self.side, self.operator = side, operator
        self.heads: int = attention.num_heads  # type: ignore[assignment]
        self.qkv, self.proj = _lowered(attention.qkv, dtype), _lowered(attention.proj, dtype)
        for name, table in (("rows", attention.rel_pos_h), ("columns", attention.rel_pos_w)):
            by_place = get_rel_pos(side, side, table.detach()).mT  # (place of the query, D, place of the key)
            self.register_buffer(name, by_place.contiguous().to(dtype))

    def forward(self, windows: Tensor) -> Tensor:
        """(n, side x side, C), to the same."""
        side, length, channels = self.side, self.side**2, windows.shape[2]
        qkv = self.qkv(windows).reshape(-1, length, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (n, H, length, D)
        placed = query.reshape(-1, self.heads, side, side, channels // self.heads)
        by_row = placed @ self.rows
        by_column = (placed.transpose(2, 3) @ self.columns).transpose(2, 3)
        bias = (by_row[..., :, None] + by_column[..., None, :]).reshape(-1, self.heads, length, length)
        if self.operator:
            scale = query.shape[3] ** -0.5
            found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
        else:
            found = _attend(query, key, value, bias)
        return self.proj(found.transpose(1, 2).reshape(-1, length, channels))


class ScoreGraph(nn.Module):
    """The mask decoder's first half: its transformer and IoU head, for P prompts of one image.

    Args:
        sam: float32, on the CPU, in eval mode.
        dtype: Of matrices and of what `finish` is given.
        tokens: Prompt tokens of each prompt.
        masked: The third input is the masks of an earlier round. Without it, prompts share the first layer.
    """

    own: Tensor
    no_mask: Tensor
    position: Tensor

    def __init__(self, sam: Sam, dtype: torch.dtype, *, tokens: int, masked: bool) -> None:
        super().__init__()
        decoder, prompts = sam.mask_decoder, sam.prompt_encoder
        transformer = decoder.transformer
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).detach()
        self.predicted, self.tokens = len(own), len(own) + tokens
        self.register_buffer("own", F.pad(own, (0, 0, 0, tokens)))
        self.register_buffer("no_mask", prompts.no_mask_embed.weight.detach()[:, :, None, None].clone())
        with torch.no_grad():
            self.register_buffer("position", prompts.get_dense_pe().flatten(2).mT.contiguous())
        self.downscaling = prompts.mask_downscaling if masked else None
        shared = [not masked, *(len(transformer.layers) - 1) * [False]]
        layers = zip(transformer.layers, shared, strict=True)
        self.layers = nn.ModuleList(_DecoderLayer(block, self.tokens, dtype, first) for block, first in layers)
        self.read = _Reading(transformer.final_attn_token_to_image, self.predicted, dtype)
        self.norm, self.iou_head = transformer.norm_final_attn, decoder.iou_prediction_head

    def forward(
        self, embedding_1Css: Tensor, tokens_P2C: Tensor, masks_P1hw: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (P, 4) predicted IoUs, (P, 4, C) mask tokens and (P, N, C) cells as they attended to the prompt."""
        tokens = F.pad(tokens_P2C, (0, 0, self.predicted, 0)) + self.own
        dense = self.no_mask if masks_P1hw is None else self._downscale(masks_P1hw)
        cells = (embedding_1Css.float() + dense).flatten(2).mT  # (1, N, C), or (P, N, C) with masks
        queries = tokens
        for layer in self.layers:
            queries, cells = layer(queries, tokens, cells, self.position)
        asking = (queries + tokens)[:, : self.predicted]
        dtype = self.read.dtype
        found = self.read(asking, cells.to(dtype), (cells + self.position).to(dtype))
        answers = self.norm(queries[:, : self.predicted] + found)
        iou_token, mask_tokens = answers[:, 0], answers[:, 1:]
        return self.iou_head(iou_token), mask_tokens, cells.to(dtype)

    def _downscale(self, masks_P1hw: Tensor) -> Tensor:
        """(P, C, s, s) float32, as the prompt encoder does."""
        assert self.downscaling is not None
        values = masks_P1hw
        for module in self.downscaling:
            values = _norm2d(module, values) if isinstance(module, LayerNorm2d) else module(values)
        return values


class _DecoderLayer(nn.Module):
    """segment-anything's `TwoWayAttentionBlock`."""

    def __init__(self, block: TwoWayAttentionBlock, tokens: int, dtype: torch.dtype, shared: bool) -> None:
        super().__init__()
        self.dtype, self.is_first = dtype, block.skip_first_layer_pe
        self.attention = _TokenAttention(block.self_attn, tokens, dtype)
        reading = block.cross_attn_token_to_image
        self.read = _SharedReading(reading, tokens, dtype) if shared else _Reading(reading, tokens, dtype)
        self.write = _Writing(block.cross_attn_image_to_token, tokens, dtype)
        self.first, self.act, self.second = (
            _lowered(block.mlp.lin1, dtype),
            block.mlp.act,
            _lowered(block.mlp.lin2, dtype),
        )
        self.norm1, self.norm2, self.norm3, self.norm4 = block.norm1, block.norm2, block.norm3, block.norm4

    def forward(self, queries: Tensor, tokens: Tensor, cells: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """(P, T, C) queries and (P, N, C) cells, float32; (1, N, C) cells are one image of all prompts."""
        image, placed = cells.to(self.dtype), (cells + position).to(self.dtype)
        if self.is_first:
            queries = self.norm1(self.attention(queries, queries))
        else:
            queries = self.norm1(queries + self.attention(queries + tokens, queries))
        queries = self.norm2(queries + self.read(queries + tokens, image, placed))
        hidden = self.act(self.first(queries.to(self.dtype)))
        queries = self.norm3(queries + self.second(hidden).float())
        return queries, self.norm4(cells + self.write(queries + tokens, queries, placed))


class _Heads(nn.Module):
    """The projections of segment-anything's `Attention` between tokens and something."""

    def __init__(self, attention: Attention, tokens: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.tokens, self.dtype = tokens, dtype
        self.depth: int = attention.internal_dim // attention.num_heads

    def _split(self, linear: nn.Linear, tokens_PTC: Tensor) -> Tensor:
        """Project tokens, to (P, H, T, D)."""
        projected = linear(tokens_PTC.to(self.dtype))
        return projected.reshape(-1, self.tokens, self.heads, self.depth).transpose(1, 2)

    def _merge(self, found_PHTD: Tensor) -> Tensor:
        return found_PHTD.transpose(1, 2).reshape(-1, self.tokens, self.heads * self.depth)

    def _by_head(self, linear: nn.Linear) -> Tensor:
        """(H, D, C), the rows of a projection."""
        return linear.weight.detach().unflatten(0, (self.heads, self.depth))


class _TokenAttention(_Heads):
    """Tokens attend to each other: `self_attn`."""

    def __init__(self, attention: Attention, tokens: int, dtype: torch.dtype) -> None:
        super().__init__(attention, tokens, dtype)
        self.q_proj, self.k_proj = _lowered(attention.q_proj, dtype), _lowered(attention.k_proj, dtype)
        self.v_proj, self.out_proj = _lowered(attention.v_proj, dtype), _lowered(attention.out_proj, dtype)

    def forward(self, placed_PTC: Tensor, values_PTC: Tensor) -> Tensor:
        """(P, T, C) float32."""
        query, key = self._split(self.q_proj, placed_PTC), self._split(self.k_proj, placed_PTC)
        found = _attend(query, key, self._split(self.v_proj, values_PTC))
        return self.out_proj(self._merge(found)).float()


class _Reading(_Heads):
    """Tokens attend to the image of their prompt: `cross_attn_token_to_image`.

    Tokens are projected into the channels of the image, which is keys and values for all heads. The bias of the keys
    adds the same to every logit of a token, which softmax does not see; that of the values passes through, since the
    weights sum to one.
    """

    key_weight: Tensor
    value_weight: Tensor

    def __init__(self, attention: Attention, tokens: int, dtype: torch.dtype) -> None:
        super().__init__(attention, tokens, dtype)
        self.q_proj = _lowered(attention.q_proj, dtype)
        self.out_proj = _lowered(_with_bias_before(attention.out_proj, attention.v_proj.bias), dtype)
        self.register_buffer("key_weight", self._by_head(attention.k_proj).contiguous().to(dtype))
        self.register_buffer("value_weight", self._by_head(attention.v_proj).mT.contiguous().to(dtype))

    def forward(self, asking_PTC: Tensor, image_PNC: Tensor, placed_PNC: Tensor) -> Tensor:
        """(P, T, C) float32."""
        columns, channels = self.heads * self.tokens, image_PNC.shape[2]
        query = self._split(self.q_proj, asking_PTC) * self.depth**-0.5
        wide = (query @ self.key_weight).reshape(-1, columns, channels)
        weights = (wide @ placed_PNC.mT).softmax(dim=-1)
        found = (weights @ image_PNC).reshape(-1, self.heads, self.tokens, channels)
        return self.out_proj(self._merge(found @ self.value_weight)).float()


class _SharedReading(_Heads):
    """The same of one image that all prompts read: it is projected, once, and the prompts' tokens stand in one row."""

    def __init__(self, attention: Attention, tokens: int, dtype: torch.dtype) -> None:
        super().__init__(attention, tokens, dtype)
        self.q_proj, self.k_proj = _lowered(attention.q_proj, dtype), _lowered(attention.k_proj, dtype)
        self.v_proj, self.out_proj = _lowered(attention.v_proj, dtype), _lowered(attention.out_proj, dtype)

    def forward(self, asking_PTC: Tensor, image_1NC: Tensor, placed_1NC: Tensor) -> Tensor:
        """(P, T, C) float32."""
        query = self._row(self.q_proj(asking_PTC.to(self.dtype)))
        found = _attend(query, self._row(self.k_proj(placed_1NC)), self._row(self.v_proj(image_1NC)))
        merged = found.transpose(1, 2).reshape(-1, self.tokens, self.heads * self.depth)
        return self.out_proj(merged).float()

    def _row(self, projected: Tensor) -> Tensor:
        """(1, H, all rows, D)."""
        return projected.reshape(1, -1, self.heads, self.depth).transpose(1, 2)


class _Writing(_Heads):
    """The image attends to the tokens: `cross_attn_image_to_token`.

    Tokens are projected into the image's channels, as keys and as values. The bias of the output is spread over the
    heads, since the weights of each sum to one.
    """

    query_weight: Tensor
    query_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor

    def __init__(self, attention: Attention, tokens: int, dtype: torch.dtype) -> None:
        super().__init__(attention, tokens, dtype)
        self.k_proj, self.v_proj = _lowered(attention.k_proj, dtype), _lowered(attention.v_proj, dtype)
        bias = attention.q_proj.bias.detach().reshape(self.heads, self.depth, 1)
        out = attention.out_proj.weight.detach().T.unflatten(0, (self.heads, self.depth))
        self.register_buffer("query_weight", self._by_head(attention.q_proj).contiguous().to(dtype))
        self.register_buffer("query_bias", bias.to(dtype))
        self.register_buffer("out_weight", out.contiguous().to(dtype))
        self.register_buffer("out_bias", (attention.out_proj.bias.detach() / self.heads).to(dtype))

    def forward(self, asked_PTC: Tensor, values_PTC: Tensor, placed_PNC: Tensor) -> Tensor:
        """(P, N, C) float32; of an image (1, N, C) too."""
        columns, cells, channels = self.heads * self.tokens, placed_PNC.shape[1], placed_PNC.shape[2]
        key = self._split(self.k_proj, asked_PTC) * self.depth**-0.5
        wide = (key @ self.query_weight).reshape(-1, columns, channels)
        offset = (key @ self.query_bias).reshape(-1, 1, columns)
        logits = (placed_PNC @ wide.mT + offset).reshape(-1, cells, self.heads, self.tokens)
        weights = logits.softmax(dim=-1).reshape(-1, cells, columns)
        values = self._split(self.v_proj, values_PTC) @ self.out_weight + self.out_bias
        return (weights @ values.reshape(-1, columns, channels)).float()


class FinishGraph(nn.Module):
    """The mask decoder's second half: all masks of P prompts, up-scaled.

    Args:
        sam: float32, on the CPU, in eval mode.
        dtype: Of matrices and of the cells.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        super().__init__()
        decoder = sam.mask_decoder
        self.cells: int = sam.prompt_encoder.image_embedding_size[0]
        self.masks = len(decoder.output_hypernetworks_mlps)
        upscaler = Upscaler(decoder, height=self.cells, block=self.cells**2)
        self.first, self.second = _lowered(upscaler.first, dtype), _lowered(upscaler.second, dtype)
        self.norm, self.first_act, self.second_act = upscaler.norm, upscaler.first_act, upscaler.second_act
        self.channels = upscaler.channels
        self.hypernetworks = _Hypernetworks(list(decoder.output_hypernetworks_mlps), dtype)

    def forward(self, mask_tokens_P4C: Tensor, cells_PNC: Tensor) -> Tensor:
        """(P, 4, h, w) float32 logits."""
        length = self.cells**2
        halves = self.first(cells_PNC).reshape(-1, length, 4, self.second.in_features)
        norm = self.norm
        halves = F.layer_norm(halves.float(), norm.weight.shape, norm.weight, norm.bias, norm.eps)
        pixels = self.second_act(self.second(self.first_act(halves.to(cells_PNC.dtype))))
        pixels = pixels.reshape(-1, 16 * length, self.channels)
        masks = self.hypernetworks(mask_tokens_P4C.to(cells_PNC.dtype)) @ pixels.mT
        # Rows and columns of cells, the lower and the right half of a cell, and of that half.
        split = masks.reshape(-1, self.cells, self.cells, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return split.reshape(-1, self.masks, 4 * self.cells, 4 * self.cells).float()


class _Hypernetworks(nn.Module):
    """The networks of all mask tokens at once: weights (4, in, out), biases (4, 1, out)."""

    def __init__(self, networks: list[MLP], dtype: torch.dtype) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layers in zip(*(network.layers for network in networks), strict=True):
            weight = torch.stack([layer.weight.detach().T for layer in layers])
            bias = torch.stack([layer.bias.detach()[None] for layer in layers])
            self.weights.append(nn.Parameter(weight.to(dtype), requires_grad=False))
            self.biases.append(nn.Parameter(bias.to(dtype), requires_grad=False))

    def forward(self, tokens_P4C: Tensor) -> Tensor:
        """(P, 4, D)."""
        values = tokens_P4C.transpose(0, 1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            values = values @ weight + bias
            values = values.relu() if number < len(self.weights) else values
        return values.transpose(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention as compilers of graphs know it: the scale on the queries, two products, a softmax between them."""
    logits = (query * query.shape[-1] ** -0.5) @ key.mT
    return (logits if bias is None else logits + bias).softmax(dim=-1) @ value


def _norm2d(norm: LayerNorm2d, values_NChw: Tensor) -> Tensor:
    """`LayerNorm2d` as a layer norm, which is one operator."""
    rows = values_NChw.permute(0, 2, 3, 1)
    return F.layer_norm(rows, norm.weight.shape, norm.weight, norm.bias, norm.eps).permute(0, 3, 1, 2)


def _lowered(module: _Module, dtype: torch.dtype) -> _Module:
    """The module itself in float32, a copy of it in another type."""
    return module if dtype == torch.float32 else copy.deepcopy(module).to(dtype)


def _with_bias_before(linear: nn.Linear, bias: Tensor) -> nn.Linear:
    """A layer that adds a bias to its input first."""
    both = nn.Linear(linear.in_features, linear.out_features, device="meta")
    with torch.no_grad():
        state = {"weight": linear.weight.detach(), "bias": linear(bias.detach())}
    both.load_state_dict(state, assign=True)
    return both
