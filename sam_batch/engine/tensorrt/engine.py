"""The TensorRT engine: a model's encoder and decoder as plans of one GPU.

The encoder and both halves of the decoder run as plans, in the precision that their graphs were exported in. Points
and boxes become tokens in torch, in float32: it is little work, and coordinates bear no rounding. It builds nothing
and trusts whoever hands it a plan.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_batch.engine.checks import require_finite, require_within
from sam_batch.engine.onnx.graph_set import PROMPTED, GraphSet
from sam_batch.engine.protocol import Embeddings, EngineSpec, Prompts, ScoredPrompts
from sam_batch.engine.tensorrt.host import Host
from sam_batch.engine.tensorrt.run import PlanRunner
from sam_batch.errors import EngineError
from sam_batch.model.family import Family


class _Scored(NamedTuple):
    """What `score` hands to `finish`.

    Attributes:
        made: By name what the plan `finish` takes, each with the prompts first.
        first: Which of the model's masks is the first of the M.
    """

    made: dict[str, Tensor]
    first: int


class TensorRTEngine:
    """One model on one GPU; `engine.protocol.Engine` says what its methods promise.

    Args:
        host: The machine that the plans were built on.
        graphs: What they were built from.
        plans: The plan of each graph, checked; taken out one by one, so that none is held twice.
        family: Of the model.
        module: The same weights, of which only the prompt encoder is kept.
        compiled: Of each plan, what was compiled of it on this GPU before, or empty.

    Raises:
        EngineError: A plan cannot be loaded.
    """

    def __init__(
        self,
        host: Host,
        graphs: GraphSet,
        plans: dict[str, bytes],
        family: Family,
        module: nn.Module,
        compiled: Mapping[str, bytes],
    ) -> None:
        self._device, self._graphs = host.gpu.device, graphs
        self._encode_prompts = family.prompt_encoder(module, self._device)
        self._plans = {name: PlanRunner(host, plans.pop(name), name, compiled[name]) for name in list(plans)}
        prompted = graphs.max_tokens if PROMPTED in self._plans else None
        scratch_bytes = max(plan.scratch_bytes for plan in self._plans.values())
        scratch = torch.empty(max(1, scratch_bytes), dtype=torch.uint8, device=self._device)
        for plan in self._plans.values():
            plan.use_scratch(scratch)  # they run one after the other, on one stream
        self.spec = EngineSpec(
            kind="tensorrt",
            model=graphs.model,
            **asdict(graphs.traits),
            precision=graphs.precision,
            device=str(self._device),
            token_range=(graphs.tokens, graphs.tokens) if prompted is None else (0, prompted),
            takes_masks=prompted is not None,
        )

    @torch.inference_mode()
    def embed(self, images_N3SS: Tensor) -> Embeddings:
        """Run the image encoder."""
        made = self._plans["encoder"].run({"images": images_N3SS}, len(images_N3SS))
        return Embeddings(tuple(made.values()))

    @torch.inference_mode()
    def score(self, embedding: Embeddings, prompts: Prompts) -> ScoredPrompts:
        """Run the decoder's transformer and IoU head.

        Raises:
            EngineError: The prompts have more tokens than the engines were built for, or masks, and they were built
                without.
        """
        if not self.spec.takes(prompts):
            raise EngineError(f"{self.spec.refusal(prompts)}; set engine.kind=torch")
        simple = prompts.tokens == self._graphs.tokens and prompts.masks is None
        plan = self._plans["score" if simple else PROMPTED]
        inputs = self._simple(prompts) if simple else self._filled(prompts)
        features = zip(self._graphs.inputs["score"], embedding.features, strict=False)  # they come first
        made = plan.run({**dict(features), **inputs}, len(prompts))
        masks = slice(1, None) if prompts.multimask else slice(0, 1)
        iou = made.pop("iou")[:, masks]
        require_finite(iou, "a predicted IoU")
        return ScoredPrompts(iou, _Scored(made, masks.start))

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
            inputs = {name: values[chunk] for name, values in state.made.items()}
            made_P4hw = self._plans["finish"](inputs, len(chunk))["logits"]
            rows = ((place_K >= start) & (place_K < start + len(chunk))).nonzero().flatten()
            masks = state.first + index[rows, 1]
            logits_Khw[rows.to(self._device)] = made_P4hw[
                (place_K[rows] - start).to(self._device), masks.to(self._device)
            ]
        require_finite(logits_Khw, "a mask logit")
        return logits_Khw

    def compiled(self) -> dict[str, bytes]:
        """Of each plan, what was compiled of it on this GPU so far; empty where nothing is to be kept."""
        return {name: plan.compiled() for name, plan in self._plans.items()}

    def close(self) -> None:
        """Free the device's memory."""
        for plan in self._plans.values():
            plan.close()
        self._plans.clear()
        del self._encode_prompts
        if self.spec.on_gpu:
            torch.cuda.empty_cache()

    def _simple(self, prompts: Prompts) -> dict[str, Tensor]:
        """Prompts of one point or one box each, as `score` takes them."""
        return {"tokens": self._encode_prompts(prompts)}

    def _filled(self, prompts: Prompts) -> dict[str, Tensor]:
        """Prompts of any parts, as `prompted` takes them: what they lack is filled up, and said to be filling."""
        tokens_PtC, most = self._encode_prompts(prompts), self._graphs.max_tokens or 0
        missing = most - tokens_PtC.shape[1]
        filling_Pt = tokens_PtC.new_ones(len(prompts), most)
        filling_Pt[:, : tokens_PtC.shape[1]] = 0
        _, *mask_shape = self._graphs.inputs[PROMPTED]["masks"]
        masks_P1hw = prompts.masks
        if masks_P1hw is None:
            masks_P1hw = tokens_PtC.new_zeros(len(prompts), *map(int, mask_shape))
        return {
            "tokens": F.pad(tokens_PtC, (0, 0, 0, missing)),
            "filling": filling_Pt,
            "masks": masks_P1hw,
            "maskless": tokens_PtC.new_full((len(prompts), 1, 1, 1), float(prompts.masks is None)),
        }
