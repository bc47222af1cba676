"""An engine without a model, for tests of everything around engines: ellipses where the prompts are.

Deterministic, and cheap enough to be nowhere near the bottleneck of a job. Its masks depend on the picture: where
it is bright they are large, and where it is black nothing is found (a predicted IoU of 0). Edges are sharp, so that
masks are stable. It shows nothing about SAM's quality or speed.

Two pictures are test hooks. A view that is `FakeEngine.KILLER_RGB` all over ends the process without a word, as a
crash in a driver or in native code would; with one of `FakeEngine.HANGING_RGB` the engine never comes back. It is how
jobs are tested to survive images that kill their worker, or keep it.
"""

import os
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sam_batch.engine.protocol import Embeddings, EngineSpec, Prompts, ScoredPrompts
from sam_batch.model.checkpoints import ResolvedCheckpoint
from sam_batch.model.sam.models import PIXEL_MEAN, PIXEL_STD

IMAGE_SIDE = 256
MASK_SIDE = IMAGE_SIDE // 4
WEIGHTS = ResolvedCheckpoint(name="fake", path="", sha256="", image_side=IMAGE_SIDE)  # it reads none

_SCALES_M3 = (1.0, 2.0, 3.0)  # a part, a bigger part, the whole
_SCALE_M1 = (1.5,)
_SMALLEST_RADIUS = IMAGE_SIDE / 16
_EDGE = 50.0  # logits a low-resolution pixel across a mask's edge
_BLACK = 1.0  # mean colour of 255 below which nothing is found


@dataclass(frozen=True, slots=True)
class _Ellipses:
    """M ellipses for each of P prompts, in low-resolution pixels.

    Attributes:
        centers: (P, 2).
        radii: (P, M, 2).
    """

    centers: Tensor
    radii: Tensor


class FakeEngine:
    """Ellipses around points and in boxes, else on the mask, else in the middle.

    `engine.protocol.Engine` says what its methods promise.
    """

    KILLER_RGB = (255, 0, 254)
    HANGING_RGB = (254, 255, 0)

    spec = EngineSpec(
        kind="fake",
        model=WEIGHTS.name,
        image_side=IMAGE_SIDE,
        mask_side=MASK_SIDE,
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
        mask_threshold=0.0,
        precision="fp32",
        device="cpu",
    )

    def embed(self, images_N3SS: Tensor) -> Embeddings:
        """The mean colour of each 16 x 16 cell, 0 to 255; ends the process at the killer picture, or never ends."""
        colors = images_N3SS.cpu() * torch.tensor(PIXEL_STD).view(3, 1, 1) + torch.tensor(PIXEL_MEAN).view(3, 1, 1)
        if any(_is_all(self.KILLER_RGB, one, shown) for one, shown in zip(colors, images_N3SS, strict=True)):
            os._exit(1)
        while any(_is_all(self.HANGING_RGB, one, shown) for one, shown in zip(colors, images_N3SS, strict=True)):
            time.sleep(1)
        return Embeddings((F.avg_pool2d(colors, 16),))

    def score(self, embedding: Embeddings, prompts: Prompts) -> ScoredPrompts:
        """Lay an ellipse for each prompt and mask; predict IoUs of 0.8 to 1, or 0 on black."""
        center_P2, radii_P2 = _extent(prompts)
        column, row = (center_P2 / 16).long().clamp(0, IMAGE_SIDE // 16 - 1).unbind(dim=1)
        (colors_13ss,) = embedding.features
        brightness_P = colors_13ss.mean(dim=(0, 1))[row, column]
        if radii_P2 is None:
            radii_P2 = (_SMALLEST_RADIUS * (1 + brightness_P / 255))[:, None].expand(-1, 2)
        if prompts.masks is not None:
            radii_P2 = radii_P2 * (1 + (prompts.masks > 0).float().mean(dim=(1, 2, 3)))[:, None]
        scales_M = torch.tensor(_SCALES_M3 if prompts.multimask else _SCALE_M1)
        spread_P = center_P2[:, 0] * 0.618 + center_P2[:, 1] * 0.367 + brightness_P * 0.273
        iou_PM = 0.8 + 0.2 * (spread_P[:, None] + scales_M * 0.431).frac()
        iou_PM = torch.where(brightness_P[:, None] < _BLACK, 0.0, iou_PM)
        radii_PM2 = radii_P2[:, None] * scales_M[:, None]
        return ScoredPrompts(iou_PM, _Ellipses((center_P2 + 0.5) / 4 - 0.5, radii_PM2 / 4))

    def finish(self, scored: ScoredPrompts, index_K2: Tensor) -> Tensor:
        """Logits that fall from the middle of each ellipse and are 0 on its edge."""
        ellipses: _Ellipses = scored.state
        prompt_K, mask_K = index_K2.cpu().unbind(dim=1)
        center_K2, radii_K2 = ellipses.centers[prompt_K], ellipses.radii[prompt_K, mask_K]
        offset_K2w = torch.arange(MASK_SIDE) - center_K2[:, :, None]
        fall_K2w = (offset_K2w / radii_K2[:, :, None]).square()
        height_K11 = (_EDGE / 2 * radii_K2.amin(dim=1))[:, None, None]
        return height_K11 * (1 - fall_K2w[:, 0, None, :] - fall_K2w[:, 1, :, None])

    def close(self) -> None:
        """There is nothing to free."""


def _extent(prompts: Prompts) -> tuple[Tensor, Tensor | None]:
    """Centres (P, 2) and, where boxes give them, radii (P, 2), in pixels of the view."""
    if prompts.boxes is not None:
        boxes_P4 = prompts.boxes.cpu()
        low_P2, high_P2 = boxes_P4[:, :2], boxes_P4[:, 2:]
        return (low_P2 + high_P2) / 2, ((high_P2 - low_P2) / 2).clamp(min=1.0)
    if prompts.points is not None and prompts.labels is not None:
        return _middle(prompts.points.cpu().float(), prompts.labels.cpu() == 1), None
    if prompts.masks is not None:
        cells_N2 = torch.cartesian_prod(*[(torch.arange(MASK_SIDE) + 0.5) * 4] * 2).flip(1)
        return _middle(cells_N2.expand(len(prompts), -1, -1), prompts.masks.cpu().flatten(1) > 0), None
    return torch.full((len(prompts), 2), IMAGE_SIDE / 2), None


def _middle(points_PN2: Tensor, chosen_PN: Tensor) -> Tensor:
    """(P, 2) means of the chosen points; the corner, where none is chosen."""
    total_P2 = (points_PN2 * chosen_PN[:, :, None]).sum(dim=1)
    return total_P2 / chosen_PN.sum(dim=1).clamp(min=1)[:, None]


def _is_all(rgb: tuple[int, int, int], colors_3SS: Tensor, normalised_3SS: Tensor) -> bool:
    """Whether all of a view but its padding (zeros) is of a colour, give or take resampling."""
    near_SS = ((colors_3SS - torch.tensor(rgb).view(3, 1, 1)).abs() < 1.5).all(dim=0)
    return bool(near_SS[0, 0]) and bool((near_SS | (normalised_3SS == 0).all(dim=0)).all())
