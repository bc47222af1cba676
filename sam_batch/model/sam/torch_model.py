"""A `Sam` on the CPU or on CUDA, in three precisions: encoder, prompt encoder and decoder put together.

In float32 its numbers are those of `Sam.forward`, but for rounding. The parts are in `model.sam.encoder`,
`model.sam.prompt_tokens` and `model.sam.decoder`; only masks of an earlier round go straight to `sam.prompt_encoder`.
"""

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from sam_batch.model.family import Features, PromptParts
from sam_batch.model.precision import DTYPES
from sam_batch.model.sam.decoder import Decoder, Scored
from sam_batch.model.sam.encoder import Encoder
from sam_batch.model.sam.lowering import lower
from sam_batch.model.sam.prompt_tokens import prompt_tokens


class SamModel:
    """`model.family.TorchModel` says what its methods promise.

    Args:
        sam: float32, in eval mode; taken over.
        precision: fp32, bf16 or fp16; what stays float32 is in `model.sam.lowering`.
        device: cpu, cuda or cuda:<index>.
    """

    def __init__(self, sam: Sam, precision: str, device: str) -> None:
        self._dtype = DTYPES[precision]
        lower(sam, self._dtype)
        self._prompts = sam.to(device).prompt_encoder
        self.device: torch.device = sam.device  # with its number, where `device` names none
        self.decoder = Decoder(sam)
        self.encoder = Encoder(sam.image_encoder, "blocks" if self.device.type == "cpu" else "extended")

    def embed(self, images_N3SS: Tensor) -> Features:
        """Returns one feature map, (N, C, S/16, S/16)."""
        return (self.encoder(images_N3SS).to(self._dtype),)

    def score(self, features: Features, prompts: PromptParts) -> tuple[Tensor, Scored]:
        """Run the decoder's transformer and its IoU head."""
        (features_1Css,) = features
        sparse = prompt_tokens(self._prompts, prompts)
        dense = None if prompts.masks is None else self._prompts.mask_downscaling(prompts.masks.to(self.device))
        scored = self.decoder.score(features_1Css[0], sparse, dense, multimask=prompts.multimask)
        return scored.iou, scored

    def finish(self, state: Scored, index_K2: Tensor) -> Tensor:
        """Up-scale the chosen masks, each prompt once, a bounded number of prompts at a time."""
        return self.decoder.finish(state, index_K2)
