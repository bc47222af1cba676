"""The torch engine: a model's modules on the CPU or on CUDA, in three precisions.

It does not resize, choose, threshold or batch: callers do. How the modules are arranged is the family's business
(`model.family.TorchModel`); what holds for every model is here.
"""

import warnings
from dataclasses import asdict

import torch
from torch import Tensor, nn

from sam_batch.engine.checks import require_finite, require_within
from sam_batch.engine.heap import keep_freed_memory
from sam_batch.engine.protocol import Embeddings, EngineSpec, Prompts, ScoredPrompts
from sam_batch.model.family import Family


class TorchEngine:
    """One model on one device; `engine.protocol.Engine` says what its methods promise.

    The engine takes the modules over: it moves them to the device and, in half precision, lowers their weights.

    Args:
        module: float32, in eval mode.
        family: Its family.
        model: The model's name, for the spec.
        precision: fp32, bf16 or fp16.
        device: cpu, cuda or cuda:<index>.
    """

    def __init__(self, module: nn.Module, family: Family, *, model: str, precision: str, device: str) -> None:
        set_up_process(device)
        self._model = family.arrange(module, precision, device)
        self.spec = EngineSpec(
            kind="torch",
            model=model,
            **asdict(family.traits(module)),
            precision=precision,
            device=str(self._model.device),
        )

    @torch.inference_mode()
    def embed(self, images_N3SS: Tensor) -> Embeddings:
        """Run the image encoder."""
        return Embeddings(self._model.embed(images_N3SS.to(self._model.device)))

    @torch.inference_mode()
    def score(self, embedding: Embeddings, prompts: Prompts) -> ScoredPrompts:
        """Run the first half of the mask decoder."""
        iou_PM, state = self._model.score(embedding.to(self._model.device).features, prompts)
        require_finite(iou_PM, "a predicted IoU")
        return ScoredPrompts(iou_PM, state)

    @torch.inference_mode()
    def finish(self, scored: ScoredPrompts, index_K2: Tensor) -> Tensor:
        """Up-scale the chosen masks."""
        index = index_K2.cpu()  # which prompts are needed decides shapes
        require_within(index, scored.iou.shape)
        logits_Khw = self._model.finish(scored.state, index)
        require_finite(logits_Khw, "a mask logit")
        return logits_Khw

    def close(self) -> None:
        """Free the device's memory."""
        del self._model
        if self.spec.on_gpu:
            torch.cuda.empty_cache()


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
