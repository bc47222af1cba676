"""An engine whose masks are what post-processing must cope with: ragged, with holes and islands, near-duplicates,
unstable ones, empty ones and ones that cover everything. The same inputs give the same bits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sam_batch.engine.protocol import Embeddings, EngineSpec, Prompts, ScoredPrompts

SIDE = 128
LOW = SIDE // 4


class BlobEngine:
    """Blobs around the objects nearest to the prompts; their looks depend on every bit of pixels and points."""

    spec = EngineSpec(
        kind="fake",
        model="blobs",
        image_side=SIDE,
        mask_side=LOW,
        pixel_mean=(123.675, 116.28, 103.53),
        pixel_std=(58.395, 57.12, 57.375),
        mask_threshold=0.0,
        precision="fp32",
        device="cpu",
    )

    def embed(self, images_N3SS: Tensor) -> Embeddings:
        """Mean and spread of the colours in cells of 16 x 16 pixels."""
        mean = F.avg_pool2d(images_N3SS, 16)
        return Embeddings((torch.cat([mean, F.avg_pool2d(images_N3SS.square(), 16) - mean.square()], dim=1),))

    def score(self, embedding: Embeddings, prompts: Prompts) -> ScoredPrompts:
        """Draw each prompt's three masks at once; predicted IoUs spread over 0 to 1.1."""
        assert prompts.points is not None
        point_P2 = ((prompts.points[:, 0] + 0.5) / SIDE).float()
        object_P2 = (point_P2 * 3).floor().clamp(0, 2) / 3 + 1 / 6  # of a 3 x 3 grid: neighbouring points mean the same
        column_P, row_P = (object_P2 * (SIDE // 16)).long().unbind(dim=1)
        last_digits_P = (prompts.points[:, 0].double().sum(dim=1) * 1e4).frac().float()
        colors_Css = embedding.features[0][0]
        seed_P = colors_Css.sum(dim=0)[row_P, column_P] + colors_Css.mean() + last_digits_P / 10
        chance_PM = [_chance(seed_P[:, None] + torch.arange(3) * 0.7, salt) for salt in range(6)]
        state = _draw(object_P2, *chance_PM[1:])
        return ScoredPrompts(1.1 * chance_PM[0].sqrt(), state)

    def finish(self, scored: ScoredPrompts, index_K2: Tensor) -> Tensor:
        """The chosen drawings."""
        drawn_PMhw: Tensor = scored.state
        return drawn_PMhw[index_K2[:, 0], index_K2[:, 1]]

    def close(self) -> None:
        """There is nothing to free."""


def _chance(seed: Tensor, salt: int) -> Tensor:
    """A number in 0 to 1 that looks random and follows from its arguments."""
    return (torch.sin(seed * 12.9898 + salt * 78.233) * 437.585).frac().abs()


def _draw(center_P2: Tensor, size_PM: Tensor, soft_PM: Tensor, ripple_PM: Tensor, x_PM: Tensor, y_PM: Tensor) -> Tensor:
    """(P, M, h, w) logits: a hill at each centre, with ripples that make holes in it and islands around it."""
    ticks = (torch.arange(LOW) + 0.5) / LOW
    dx = ticks[None, None, None, :] - center_P2[:, 0, None, None, None] - (0.1 * x_PM - 0.05)[..., None, None]
    dy = ticks[None, None, :, None] - center_P2[:, 1, None, None, None] - (0.1 * y_PM - 0.05)[..., None, None]
    radius = (1.2 * size_PM.square() - 0.02)[..., None, None]
    hill = (radius - (dx.square() + dy.square()).sqrt()) * (5 + 200 * soft_PM)[..., None, None]
    waves = torch.sin(30 * dx * (1 + x_PM[..., None, None])) * torch.sin(30 * dy * (1 + y_PM[..., None, None]))
    return hill + waves * (20 * ripple_PM.square())[..., None, None]
