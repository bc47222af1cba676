"""What training needs of the model beyond segment-anything's own classes.

A good start, growth to a larger input side, and the decoder called once for all prompts of all images (the class
itself takes one image a call). The weights stay those of `Sam`.
"""

import math

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from sam_batch.model.sam.demo import WIDTH, build_demo

FEATURES = 16  # of each of the two levels of the pair head


def new_model(side: int) -> Sam:
    """A demo model ready for training: patches see cosines, prompts look at their own place."""
    sam = build_demo(side)
    with torch.no_grad():
        _cosine_patches(sam.image_encoder.patch_embed.proj.weight)
        nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02)
        for block in sam.image_encoder.blocks:
            block.attn.proj.weight.mul_(0.2)
            block.mlp.lin2.weight.mul_(0.2)
        transformer = sam.mask_decoder.transformer
        for layer in transformer.layers:
            _match(layer.cross_attn_token_to_image)
            _match(layer.cross_attn_image_to_token)
        _match(transformer.final_attn_token_to_image)
    return sam


def _cosine_patches(weight: Tensor) -> None:
    """Fill patch-embedding filters (C, 3, P, P) with the lowest 2-D cosines: grey first, then two colour contrasts.

    The gain rises with the frequency, since the spectrum of pictures falls.
    """
    count, side = weight.shape[0], weight.shape[-1]
    x = (torch.arange(side) + 0.5) / side
    waves = torch.stack([torch.cos(math.pi * k * x) for k in range(side)])
    waves /= waves.norm(dim=1, keepdim=True)
    order = sorted(((i, j) for i in range(side) for j in range(side)), key=lambda ij: (ij[0] + ij[1], ij))
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
    colours /= colours.norm(dim=1, keepdim=True)
    share = (count // 2, count // 4, count - count // 2 - count // 4)
    filters = [
        0.15 * (1 + (i + j) / 2) * colours[c][:, None, None] * torch.outer(waves[i], waves[j])
        for c, n in enumerate(share)
        for i, j in order[:n]
    ]
    weight.copy_(torch.stack(filters))


def _match(attention: nn.Module) -> None:
    """Equal query and key projections: prompts and image share a positional code, so like places find each other."""
    nn.init.orthogonal_(attention.q_proj.weight)
    attention.q_proj.weight.mul_(1.6)
    attention.k_proj.weight.copy_(attention.q_proj.weight)
    attention.q_proj.bias.zero_()
    attention.k_proj.bias.zero_()


class PairHead(nn.Module):
    """Features at a quarter of the picture's side for dense pre-training, thrown away after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 4 * 64), nn.Linear(64, 4 * 2 * FEATURES)
        self.scale = nn.Parameter(torch.ones(2))
        self.shift = nn.Parameter(torch.full((2,), 2.0))

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 16 h w, 2, FEATURES), pixels in rows."""
        x = F.gelu(self.first(embedding.permute(0, 2, 3, 1))).unflatten(-1, (2, 2, 64))
        x = self.second(x).unflatten(-1, (2, 2, 2 * FEATURES))
        return unfold_cells(x).flatten(1, 2).unflatten(-1, (2, FEATURES))


def unfold_cells(x: Tensor) -> Tensor:
    """Twice-halved cells (N, h, w, 2, 2, 2, 2, C) -> their pixels (N, 4 h, 4 w, C)."""
    n, h, w, c = *x.shape[:3], x.shape[-1]
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(n, 4 * h, 4 * w, c)


def upscale(up: nn.Sequential, source: Tensor) -> Tensor:
    """The decoder's up-scaling, (P, h w, C) -> (P, h w, 2, 2, 2, 2, C / 8), as matrix products.

    A transposed convolution whose stride is its kernel's side is one; CPUs are slow at the gradient of the other form.
    """
    first, norm, activate, second, _ = up
    x = _spread(first, source)
    x = activate(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    return activate(_spread(second, x))


def _spread(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """(..., C) -> (..., 2, 2, D)."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return F.linear(x, weight, convolution.bias.repeat(4)).unflatten(-1, (2, 2, -1))


def grow(state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """The state of a model for another input side: positions interpolated, all else as it is."""
    wanted = build_demo(side).state_dict()
    return {name: _fit(value, wanted[name].shape) for name, value in state.items()}


def _fit(value: Tensor, shape: torch.Size) -> Tensor:
    if value.shape == shape:
        return value
    if value.ndim == 4:  # absolute positions (1, h, w, C)
        grid = value.permute(0, 3, 1, 2)
        return F.interpolate(grid, shape[1:3], mode="bicubic", align_corners=False).permute(0, 2, 3, 1).contiguous()
    return F.interpolate(value.T[None], shape[0], mode="linear", align_corners=False)[0].T.contiguous()


def embed(sam: Sam, image: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) in 0 to 255 -> embeddings (N, C, h, w)."""
    return sam.image_encoder((image - sam.pixel_mean) / sam.pixel_std)


def point_tokens(sam: Sam, points: Tensor, labels: Tensor) -> Tensor:
    """Clicks (P, n, 2) with labels (P, n), 1 on and 0 off the object -> tokens (P, n + 1, C)."""
    return sam.prompt_encoder._embed_points(points, labels, pad=True)


def box_tokens(sam: Sam, boxes: Tensor) -> Tensor:
    """Boxes (P, 4) -> tokens (P, 2, C)."""
    return sam.prompt_encoder._embed_boxes(boxes)


def decode(sam: Sam, embedding: Tensor, tokens: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """All prompts of all images at once.

    Args:
        sam: The model.
        embedding: (N, C, h, w).
        tokens: (N * K, n, C), prompts of one image beside each other.
        masks: Logits of a previous answer (N * K, 1, 4 h, 4 w), or None.

    Returns:
        Mask logits (N * K, 4, 4 h, 4 w) and predicted IoU (N * K, 4); output 0 is the one for unambiguous prompts.
    """
    prompts, decoder = sam.prompt_encoder, sam.mask_decoder
    p = len(tokens)
    own = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight))[None].expand(p, -1, -1)
    dense = prompts.no_mask_embed.weight[..., None, None] if masks is None else prompts.mask_downscaling(masks)
    source = embedding.repeat_interleave(p // len(embedding), 0) + dense
    place = prompts.get_dense_pe().expand_as(source)
    out, source = decoder.transformer(source, place, torch.cat((own, tokens), 1))
    h, w = embedding.shape[-2:]
    weights = torch.stack([mlp(out[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], -1)
    pixels = upscale(decoder.output_upscaling, source)
    masks_out = (pixels.flatten(1, -2) @ weights).view(p, h, w, 2, 2, 2, 2, 4)
    masks_out = unfold_cells(masks_out).permute(0, 3, 1, 2)
    return masks_out, decoder.iou_prediction_head(out[:, 0])
