"""SAM's mask decoder as modules that export to clean ONNX graphs: `score`, `prompted` and `finish`.

They compute what segment-anything's `MaskDecoder` does, with its weights, arranged as in `model.sam.decoder`: prompts
share the first layer's projections of the image; later, tokens are projected into the image's channels instead of
every cell. All of SAM's masks are scored and finished; which ones are wanted is the caller's business. The modules
are not meant to be fast in eager torch.

In half precision the image's cells are half, which saves a quarter of the memory (`model.sam.decoder` sums them in
float32; the error is the same); tokens, norms, the masks that come as prompts and the IoU head are float32, by casts in
the modules. `model.sam.lowering` says why.

Subscripts are those of `model.sam.graph_parts`.
"""

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor, nn

from sam_batch.model.sam.graph_parts import (
    ImageToTokenGraph,
    SharedTokenToImageGraph,
    TokenAttention,
    TokenToImageGraph,
    lowered,
    norm2d,
)
from sam_batch.model.sam.upscaler import Upscaler

UNSEEN = -3e4  # added to a logit it leaves no weight, also in float16


class _Score(nn.Module):
    """The mask decoder's first half: its transformer and IoU head, for P prompts of one image, all of as many tokens.

    Args:
        sam: float32, on the CPU, in eval mode.
        dtype: Of cells where they are multiplied, and as `finish` is given them.
        tokens: Prompt tokens of each prompt.
        shared: Whether prompts share the first layer, since there are no masks of an earlier round among them.
    """

    own: Tensor
    no_mask: Tensor
    position: Tensor

    def __init__(self, sam: Sam, dtype: torch.dtype, *, tokens: int, shared: bool) -> None:
        super().__init__()
        decoder, prompts = sam.mask_decoder, sam.prompt_encoder
        transformer = decoder.transformer
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).detach()
        self.predicted, self.tokens, self.dtype = len(own), len(own) + tokens, dtype
        self.register_buffer("own", F.pad(own, (0, 0, 0, tokens)))
        self.register_buffer("no_mask", prompts.no_mask_embed.weight.detach()[:, :, None, None].clone())
        with torch.no_grad():
            self.register_buffer("position", prompts.get_dense_pe().flatten(2).mT.contiguous())
        which = [shared, *(len(transformer.layers) - 1) * [False]]
        layers = zip(transformer.layers, which, strict=True)
        self.layers = nn.ModuleList(_DecoderLayer(block, self.tokens, dtype, first) for block, first in layers)
        self.token_to_image = TokenToImageGraph(transformer.final_attn_token_to_image, self.predicted)
        self.norm, self.iou_head = transformer.norm_final_attn, decoder.iou_prediction_head

    def _score(
        self, embedding_1Css: Tensor, dense: Tensor, tokens_PtC: Tensor, hidden_PT: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (P, 4) predicted IoUs, (P, 4, C) mask tokens and (P, L, C) cells as they attended to the prompt.

        The dense embedding is of each prompt or one of all; what is hidden keeps tokens from being attended to.
        """
        tokens = F.pad(tokens_PtC, (0, 0, self.predicted, 0)) + self.own
        cells = (embedding_1Css.float() + dense).flatten(2).mT.to(self.dtype)  # (1, L, C), or (P, L, C) with masks
        queries = tokens
        for layer in self.layers:
            queries, cells = layer(queries, tokens, cells, self.position, hidden_PT)
        asking = (queries + tokens)[:, : self.predicted]
        placed = (cells.float() + self.position).to(self.dtype)
        answers = self.norm(queries[:, : self.predicted] + self.token_to_image(asking, cells, placed))
        iou_token, mask_tokens = answers[:, 0], answers[:, 1:]
        return self.iou_head(iou_token), mask_tokens, cells


class ScoreGraph(_Score):
    """That half for prompts without masks.

    Args:
        sam: float32, on the CPU, in eval mode.
        dtype: Of cells where they are multiplied, and as `finish` is given them.
        tokens: Prompt tokens of each prompt.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype, *, tokens: int) -> None:
        super().__init__(sam, dtype, tokens=tokens, shared=True)

    def forward(self, embedding_1Css: Tensor, tokens_PtC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (P, 4) predicted IoUs, (P, 4, C) mask tokens and (P, L, C) cells as they attended to the prompt."""
        return self._score(embedding_1Css, self.no_mask, tokens_PtC, None)


class PromptedGraph(_Score):
    """The same for prompts of any parts: of up to so many tokens, with masks of an earlier round and without.

    Sizes are constants all the same. What a prompt lacks in tokens is filled up; that nobody attends to the filling
    makes the numbers those of the tokens alone.

    Args:
        sam: As for `ScoreGraph`.
        dtype: Likewise.
        tokens: The most that a prompt may have.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype, *, tokens: int) -> None:
        super().__init__(sam, dtype, tokens=tokens, shared=False)
        self.downscaling = sam.prompt_encoder.mask_downscaling

    def forward(
        self,
        embedding_1Css: Tensor,
        tokens_PtC: Tensor,
        filling_Pt: Tensor,
        masks_P1hw: Tensor,
        maskless_P111: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `ScoreGraph`; the filling is 1 where a token is none, and maskless 1 where a prompt has no mask."""
        dense = self.no_mask * maskless_P111 + self._downscale(masks_P1hw) * (1 - maskless_P111)
        hidden_PT = F.pad(filling_Pt, (self.predicted, 0)) * UNSEEN
        return self._score(embedding_1Css, dense, tokens_PtC, hidden_PT)

    def _downscale(self, masks_P1hw: Tensor) -> Tensor:
        """(P, C, s, s) float32, as the prompt encoder does."""
        values = masks_P1hw
        for module in self.downscaling:
            values = norm2d(module, values) if isinstance(module, LayerNorm2d) else module(values)
        return values


class _DecoderLayer(nn.Module):
    """segment-anything's `TwoWayAttentionBlock`."""

    def __init__(self, block: TwoWayAttentionBlock, tokens: int, dtype: torch.dtype, shared: bool) -> None:
        super().__init__()
        self.dtype, self.is_first = dtype, block.skip_first_layer_pe
        self.attention = TokenAttention(block.self_attn, tokens)
        reading = block.cross_attn_token_to_image
        self.token_to_image = (
            SharedTokenToImageGraph(reading, tokens, dtype) if shared else TokenToImageGraph(reading, tokens)
        )
        self.image_to_token = ImageToTokenGraph(block.cross_attn_image_to_token, tokens)
        self.mlp = block.mlp
        self.norm1, self.norm2, self.norm3, self.norm4 = block.norm1, block.norm2, block.norm3, block.norm4

    def forward(
        self, queries: Tensor, tokens: Tensor, cells: Tensor, position: Tensor, hidden_PT: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(P, T, C) queries, float32, and (P, L, C) cells; (1, L, C) cells are one image of all prompts."""
        placed = (cells.float() + position).to(self.dtype)
        if self.is_first:
            queries = self.norm1(self.attention(queries, queries, hidden_PT))
        else:
            queries = self.norm1(queries + self.attention(queries + tokens, queries, hidden_PT))
        queries = self.norm2(queries + self.token_to_image(queries + tokens, cells, placed))
        queries = self.norm3(queries + self.mlp(queries))
        written = cells + self.image_to_token(queries + tokens, queries, placed, hidden_PT)
        return queries, self.norm4(written.float()).to(self.dtype)


class FinishGraph(nn.Module):
    """The mask decoder's second half: all masks of P prompts, up-scaled.

    Args:
        sam: float32, on the CPU, in eval mode.
        dtype: Of the cells and of what they are multiplied with.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        super().__init__()
        decoder = sam.mask_decoder
        self.cells: int = sam.prompt_encoder.image_embedding_size[0]
        self.masks = len(decoder.output_hypernetworks_mlps)
        upscaler = Upscaler(decoder, self.cells, self.cells, block=self.cells**2)
        self.first, self.second = lowered(upscaler.first, dtype), lowered(upscaler.second, dtype)
        self.norm, self.first_act, self.second_act = upscaler.norm, upscaler.first_act, upscaler.second_act
        self.channels = upscaler.channels
        self.hypernetworks = _Hypernetworks(list(decoder.output_hypernetworks_mlps))

    def forward(self, mask_tokens_P4C: Tensor, cells_PLC: Tensor) -> Tensor:
        """(P, 4, h, w) float32 logits."""
        length = self.cells**2
        halves = self.first(cells_PLC).reshape(-1, length, 4, self.second.in_features)
        norm = self.norm
        halves = F.layer_norm(halves.float(), norm.weight.shape, norm.weight, norm.bias, norm.eps)
        pixels = self.second_act(self.second(self.first_act(halves.to(cells_PLC.dtype))))
        pixels = pixels.reshape(-1, 16 * length, self.channels)
        masks = self.hypernetworks(mask_tokens_P4C).to(pixels.dtype) @ pixels.mT
        # Rows and columns of cells, the lower and the right half of a cell, and of that half.
        split = masks.reshape(-1, self.cells, self.cells, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return split.reshape(-1, self.masks, 4 * self.cells, 4 * self.cells).float()


class _Hypernetworks(nn.Module):
    """The networks of all mask tokens at once: weights (4, in, out), biases (4, 1, out)."""

    def __init__(self, networks: list[MLP]) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layers in zip(*(network.layers for network in networks), strict=True):
            weight = torch.stack([layer.weight.detach().T for layer in layers])
            bias = torch.stack([layer.bias.detach()[None] for layer in layers])
            self.weights.append(nn.Parameter(weight, requires_grad=False))
            self.biases.append(nn.Parameter(bias, requires_grad=False))

    def forward(self, tokens_P4C: Tensor) -> Tensor:
        """(P, 4, D)."""
        values = tokens_P4C.transpose(0, 1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            values = values @ weight + bias
            values = values.relu() if number < len(self.weights) else values
        return values.transpose(0, 1)
