"""Which of segment-anything's weights may be half precision without harm.

Matrices (linear layers and convolutions) are stored in half precision and multiplied in it; `model.encoder` and
`model.decoder` convert what they multiply. What carries the residual stream, norms, coordinates and scores stays
float32: layer norms of real checkpoints overflow float16 (segment-anything issues 540 and 696), a pixel coordinate has
no exact float16, and predicted IoUs would collapse to a few hundred values, so that ties would decide which masks
survive.
"""

import torch
from segment_anything.modeling import Sam
from torch import nn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MATRICES = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def cpu_multiplies_bfloat16() -> bool:
    """Whether this machine's CPU has instructions for it; without them bfloat16 is slower than float32."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def lower(sam: Sam, dtype: torch.dtype) -> None:
    """Store the matrices of the encoder and the decoder in `dtype`, in place; float32 changes nothing.

    The prompt encoder and the IoU head keep float32. segment-anything's own modules cannot run afterwards.
    """
    if dtype == torch.float32:
        return
    decoder = sam.mask_decoder
    for part in (sam.image_encoder, decoder.transformer, decoder.output_upscaling, decoder.output_hypernetworks_mlps):
        for module in part.modules():
            if isinstance(module, _MATRICES):
                module.to(dtype)
