"""The torch engine: a SAM's weights on the CPU or on CUDA, in three precisions.

In float32 its numbers are those of `Sam.forward`, but for rounding. It does not resize, choose, threshold or batch:
callers do. It reaches the modules through `model.sam.encoder`, `model.sam.prompt_tokens` and `model.sam.decoder`, so
that faster ones can take their place; only masks of an earlier round go straight to `sam.prompt_encoder`.
"""

import warnings

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from sam_batch.engine.checks import require_finite, require_within
from sam_batch.engine.heap import keep_freed_memory
from sam_batch.engine.protocol import Embeddings, EngineSpec, Prompts, ScoredPrompts
from sam_batch.model.precision import DTYPES, lower
from sam_batch.model.sam.decoder import Decoder, Scored
from sam_batch.model.sam.encoder import Encoder
from sam_batch.model.sam.prompt_tokens import prompt_tokens


class TorchEngine:
    """One SAM on one device; `engine.protocol.Engine` says what its methods promise.

    The engine takes the model over: it moves it to the device and, in half precision, lowers its weights.

    Args:
        sam: float32, in eval mode.
        model: The model's name, for the spec.
        precision: fp32, bf16 or fp16; what stays float32 is in `model.precision`.
        device: cpu, cuda or cuda:<index>.
    """

    def __init__(self, sam: Sam, *, model: str, precision: str, device: str) -> None:
        set_up_process(device)
        self._dtype = DTYPES[precision]
        lower(sam, self._dtype)
        self._sam = sam.to(device)
        self._device: torch.device = sam.device  # with its number, where `device` names none
        self.spec = EngineSpec(
            kind="torch",
            model=model,
            image_side=sam.image_encoder.img_size,
            mask_side=sam.prompt_encoder.mask_input_size[0],
            pixel_mean=tuple(sam.pixel_mean.flatten().tolist()),
            pixel_std=tuple(sam.pixel_std.flatten().tolist()),
            mask_threshold=sam.mask_threshold,
            precision=precision,
            device=str(self._device),
        )
        self._decoder = Decoder(self._sam)
        self._encoder = Encoder(self._sam.image_encoder, "extended" if self.spec.on_gpu else "blocks")

    @torch.inference_mode()
    def embed(self, images_N3SS: Tensor) -> Embeddings:
        """Run the image encoder."""
        return Embeddings((self._encoder(images_N3SS.to(self._device)).to(self._dtype),))

    @torch.inference_mode()
    def score(self, embedding: Embeddings, prompts: Prompts) -> ScoredPrompts:
        """Run the decoder's transformer and its IoU head."""
        sparse, dense = self._encode(prompts)
        (features_1Css,) = embedding.to(self._device).features
        scored = self._decoder.score(features_1Css[0], sparse, dense, multimask=prompts.multimask)
        require_finite(scored.iou, "a predicted IoU")
        return ScoredPrompts(scored.iou, scored)

    @torch.inference_mode()
    def finish(self, scored: ScoredPrompts, index_K2: Tensor) -> Tensor:
        """Up-scale the chosen masks, each prompt once, a bounded number of prompts at a time."""
        state: Scored = scored.state
        index = index_K2.cpu()  # which prompts are needed decides shapes
        require_within(index, scored.iou.shape)
        logits_Khw = self._decoder.finish(state, index)
        require_finite(logits_Khw, "a mask logit")
        return logits_Khw

    def close(self) -> None:
        """Free the device's memory."""
        del self._sam, self._decoder, self._encoder
        if self.spec.on_gpu:
            torch.cuda.empty_cache()

    def _encode(self, prompts: Prompts) -> tuple[Tensor, Tensor | None]:
        """Prompts to the decoder's sparse and dense inputs, in float32; without masks nothing is dense."""
        encoder, masks = self._sam.prompt_encoder, prompts.masks
        sparse = prompt_tokens(encoder, prompts.points, prompts.labels, prompts.boxes, len(prompts))
        return sparse, None if masks is None else encoder.mask_downscaling(masks.to(self._device))


def set_up_process(device: str) -> None:
    """Set what holds for all of a process that runs a torch engine on this device."""
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    else:
        _take_no_shortcuts()


def _take_no_shortcuts() -> None:
    """Let CUDA compute in the precision that was asked for.

    By default torch convolves float32 in TF32, which has the digits of float16, and lets sums of half precision be
    half; an environment may have it multiply in TF32 too. `fp32` would promise more than it is, and be a poor measure
    for TensorRT engines.
    """
    with warnings.catch_warnings(action="ignore"):  # of a successor, which makes this flag unreadable for others
        torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
