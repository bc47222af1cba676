"""The TensorRT engine: SAM's encoder and decoder as plans of one GPU.

The encoder and both halves of the decoder run as plans, in the precision that their graphs were exported in. Points
and boxes become tokens in torch, in float32: it is little work, and coordinates bear no rounding. It builds nothing
and trusts whoever hands it a plan.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from sam_batch.engine.checks import require_finite, require_within
from sam_batch.engine.onnx.graph_set import GRAPHS, GraphSet
from sam_batch.engine.protocol import Embeddings, EngineSpec, Prompts, ScoredPrompts
from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.tensorrt.run import PlanRunner
from sam_batch.errors import EngineError
from sam_batch.model.sam.prompt_tokens import prompt_tokens


class _Scored(NamedTuple):
    """What `score` hands to `finish`.

    Attributes:
        mask_tokens: (P, 4, C).
        cells: (P, N, C), the image after it attended to each prompt.
        first: Which of SAM's four masks is the first of the M.
    """

    mask_tokens: Tensor
    cells: Tensor
    first: int


class TensorRTEngine:
    """One SAM on one GPU; `engine.protocol.Engine` says what its methods promise.

    Args:
        host: The machine that the plans were built on.
        graphs: What they were built from.
        read_plan: The plan of a graph, checked.
        sam: The same weights, of which only the prompt encoder is kept.

    Raises:
        EngineError: A plan cannot be loaded.
    """

    def __init__(self, host: Host, graphs: GraphSet, read_plan: Callable[[str], bytes], sam: Sam) -> None:
        self._device, self._graphs = host.gpu.device, graphs
        self._prompt_encoder = sam.prompt_encoder.float().to(self._device)
        self._plans = {name: PlanRunner(host, read_plan(name), name) for name in GRAPHS}
        scratch_bytes = max(plan.scratch_bytes for plan in self._plans.values())
        scratch = torch.empty(max(1, scratch_bytes), dtype=torch.uint8, device=self._device)
        for plan in self._plans.values():
            plan.use_scratch(scratch)  # they run one after the other, on one stream
        self.spec = EngineSpec(
            kind="tensorrt",
            model=graphs.model,
            image_side=graphs.image_side,
            mask_side=graphs.mask_side,
            pixel_mean=graphs.pixel_mean,
            pixel_std=graphs.pixel_std,
            mask_threshold=graphs.mask_threshold,
            precision=graphs.precision,
            device=str(self._device),
            token_range=(graphs.tokens, graphs.tokens),
        )

    @torch.inference_mode()
    def embed(self, images_N3SS: Tensor) -> Embeddings:
        """Run the image encoder."""
        made = self._plans["encoder"].run({"images": images_N3SS}, len(images_N3SS))
        return Embeddings((made["embeddings"],))

    @torch.inference_mode()
    def score(self, embedding: Embeddings, prompts: Prompts) -> ScoredPrompts:
        """Run the decoder's transformer and IoU head.

        Raises:
            EngineError: The prompts are not one point or one box each; the graphs were exported for these.
        """
        (features_1Css,) = embedding.features
        inputs = {"embedding": features_1Css, "tokens": self._tokens(prompts)}
        if prompts.masks is not None:
            inputs["masks"] = prompts.masks
        plan = self._plans["score" if prompts.masks is None else "score_masked"]
        made = plan.run(inputs, len(prompts))
        masks = slice(1, None) if prompts.multimask else slice(0, 1)
        iou = made["iou"][:, masks]
        require_finite(iou, "a predicted IoU")
        return ScoredPrompts(iou, _Scored(made["mask_tokens"], made["cells"], masks.start))

    @torch.inference_mode()
    def finish(self, scored: ScoredPrompts, index_K2: Tensor) -> Tensor:
        """Up-scale the chosen masks, each prompt once, as many prompts at a time as the plan takes."""
        state: _Scored = scored.state
        index = index_K2.cpu()  # which prompts are needed decides shapes
        require_within(index, scored.iou.shape)
        prompts, place_K = torch.unique(index[:, 0], return_inverse=True)
        side, largest = self.spec.mask_side, self._plans["finish"].largest
        logits_Khw = torch.empty((len(index), side, side), device=self._device)
        for start in range(0, len(prompts), largest):
            chunk = prompts[start : start + largest].to(self._device)
            inputs = {"mask_tokens": state.mask_tokens[chunk], "cells": state.cells[chunk]}
            made_P4hw = self._plans["finish"](inputs, len(chunk))["logits"]
            rows = ((place_K >= start) & (place_K < start + len(chunk))).nonzero().flatten()
            masks = state.first + index[rows, 1]
            logits_Khw[rows.to(self._device)] = made_P4hw[
                (place_K[rows] - start).to(self._device), masks.to(self._device)
            ]
        require_finite(logits_Khw, "a mask logit")
        return logits_Khw

    def close(self) -> None:
        """Free the device's memory."""
        for plan in self._plans.values():
            plan.close()
        self._plans.clear()
        del self._prompt_encoder
        if self.spec.on_gpu:
            torch.cuda.empty_cache()

    def _tokens(self, prompts: Prompts) -> Tensor:
        """(P, 2, C), what the prompt encoder makes of points or boxes, in float32."""
        tokens = prompt_tokens(self._prompt_encoder, prompts.points, prompts.labels, prompts.boxes, len(prompts))
        if tokens.shape[1] != self._graphs.tokens:
            raise EngineError(
                f"TensorRT engines take one point or one box a prompt ({self._graphs.tokens} tokens), "
                f"these make {tokens.shape[1]}; set engine.kind=torch"
            )
        return tokens
