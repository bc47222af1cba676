"""Which of segment-anything's weights may be half precision without harm.

Matrices (linear layers and convolutions) of the encoder and of the decoder's up-scaling are stored in half precision
and multiplied in it; `model.sam.encoder` and `model.sam.decoder` convert what they multiply. The decoder's few tokens
cost little, and rounding them changes which masks survive. So they stay float32, as does what carries the residual
stream, norms, coordinates and scores: layer norms of real checkpoints overflow float16 (segment-anything issues 540 and
696), a pixel coordinate has no exact float16, and predicted IoUs would collapse to a few hundred values, so that ties
would decide which masks survive.
"""

import torch
from segment_anything.modeling import Sam
from torch import nn

_MATRICES = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def lower(sam: Sam, dtype: torch.dtype) -> None:
    """Store the matrices of the encoder and of the decoder's up-scaling in `dtype`, in place; float32 changes nothing.

    All else keeps float32: the decoder multiplies cells with what it makes of tokens. segment-anything's own modules
    cannot run afterwards.
    """
    if dtype == torch.float32:
        return
    for part in (sam.image_encoder, sam.mask_decoder.output_upscaling):
        for module in part.modules():
            if isinstance(module, _MATRICES):
                module.to(dtype)
