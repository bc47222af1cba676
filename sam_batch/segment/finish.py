"""What every algorithm does with scored prompts: choose masks, and bring the chosen ones into the image's frame."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sam_batch.engine.protocol import EngineSpec, ScoredPrompts
from sam_batch.masks.kernels.choose import stable_masks
from sam_batch.masks.logits import Scale
from sam_batch.records import Prompt, View
from sam_batch.segment.candidates import Candidate


class Chosen(NamedTuple):
    """Masks to be finished, on the CPU.

    Attributes:
        index_K2: int64 pairs (prompt, mask).
        iou_K: Predicted.
        best: Predicted IoU of all that were scored, chosen or not.
    """

    index_K2: Tensor
    iou_K: Tensor
    best: float


def choose_above(scored: ScoredPrompts, threshold: float) -> Chosen:
    """The masks whose predicted IoU is above a threshold, prompt by prompt; all of them where it is 0.

    Chosen on the CPU, which must know them: it waits for the GPU once, not for every question about them.
    """
    iou_PM = scored.iou.cpu()
    passed_PM = iou_PM > threshold if threshold > 0 else torch.ones_like(iou_PM, dtype=torch.bool)
    return Chosen(passed_PM.nonzero(), iou_PM[passed_PM], iou_PM.max().item())


def choose_best(scored: ScoredPrompts) -> Chosen:
    """Of each prompt's masks the one with the highest predicted IoU, the first of equals."""
    iou_PM = scored.iou.cpu()
    prompt_P, best_P = torch.arange(len(iou_PM)), iou_PM.argmax(dim=1)
    return Chosen(torch.stack([prompt_P, best_P], dim=1), iou_PM[prompt_P, best_P], iou_PM.max().item())


def to_candidates(
    logits_Khw: Tensor,
    chosen: Chosen,
    prompts: Sequence[Prompt],
    view: View,
    spec: EngineSpec,
    *,
    stability_offset: float,
    min_stability: float,
) -> Iterator[Candidate]:
    """Up-scale, threshold and measure the chosen masks, and yield those that are stable, in the image's frame.

    Args:
        logits_Khw: What the engine's `finish` returned for the chosen ones.
        chosen: K of them.
        prompts: Those that were scored, P of them.
        view: That they were found in.
        spec: Of the engine.
        stability_offset: Shift of the logits when stability is measured.
        min_stability: 0 keeps every mask, empty ones too.
    """
    masks = stable_masks(
        logits_Khw,
        Scale(spec.image_side, view.view_hw, view.crop_hw),
        threshold=spec.mask_threshold,
        offset=stability_offset,
        min_stability=min_stability,
    )
    prompt_K, iou_K = chosen.index_K2[:, 0].tolist(), chosen.iou_K.tolist()
    x0, y0, _, _ = view.box
    for mask in masks:
        prompt = prompts[prompt_K[mask.index]]
        yield Candidate(mask.patch.shift(x0, y0), iou_K[mask.index], mask.stability, prompt, view.box, view.layer)
