"""SAM's mask decoder in two halves: what predicts a mask's IoU, and what up-scales the mask.

segment-anything's `MaskDecoder.predict_masks` does both at once for every mask. Its own modules are called here in
the same order on the same batch, so that a half gives the numbers the whole gives. Nothing here chooses masks or
converts numbers; precision is the caller's, by autocast.
"""

from typing import NamedTuple

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor


class Tokens(NamedTuple):
    """What the decoder's transformer makes of P prompts.

    Attributes:
        iou: (P, C), what the IoU head reads.
        masks: (P, 4, C), one a mask: the single mask first, then the three of a multimask answer.
        image: (P, C, S/16, S/16), the embedding after it attended to the prompt.
    """

    iou: Tensor
    masks: Tensor
    image: Tensor


def transform(decoder: MaskDecoder, embedding: Tensor, position: Tensor, sparse: Tensor, dense: Tensor) -> Tokens:
    """Run the two-way transformer: the first half of `MaskDecoder.predict_masks`.

    Args:
        decoder: segment-anything's.
        embedding: (C, S/16, S/16), of one image.
        position: (1, C, S/16, S/16), its positional encoding.
        sparse: (P, n, C), from the prompt encoder.
        dense: (P, C, S/16, S/16), likewise.
    """
    count = sparse.shape[0]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight], dim=0)
    tokens = torch.cat([own.expand(count, -1, -1), sparse], dim=1)
    image = embedding + dense
    hidden, keys = decoder.transformer(image, position.expand(count, -1, -1, -1), tokens)
    return Tokens(
        iou=hidden[:, 0],
        masks=hidden[:, 1 : 1 + decoder.num_mask_tokens],
        image=keys.transpose(1, 2).view(image.shape),
    )


def upscale(decoder: MaskDecoder, mask_tokens: Tensor, image: Tensor) -> Tensor:
    """Turn tokens into mask logits: the second half of `MaskDecoder.predict_masks`.

    Args:
        decoder: segment-anything's.
        mask_tokens: (P, 4, C), as `transform` returns them.
        image: (P, C, S/16, S/16), likewise.

    Returns:
        (P, 4, h, w) logits, h = w = S/4.
    """
    upscaled = decoder.output_upscaling(image)
    weights = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
    return (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
