"""How wrong the masks are: focal and dice loss, outputs matched to answers, predicted against true IoU.

All pairs of outputs and answers are weighed by matrix products, since both losses are linear in the answer. Shapes: P
prompts, M outputs, T answers, s x s mask pixels.
"""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_WEIGHT = 20.0
SPARE_WEIGHT = 0.1  # of outputs that no answer was matched to: keeps all three useful


def mask_costs(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal plus dice loss of each output against each answer, (P, M, T), from (P, M, s, s) and (P, T, s, s)."""
    x, g = logits.flatten(2).float(), targets.flatten(2)
    p = x.sigmoid()
    positive = 0.25 * (1 - p) ** 2 * F.softplus(-x)
    negative = 0.75 * p**2 * F.softplus(x)
    focal = ((positive - negative) @ g.mT + negative.sum(-1, keepdim=True)) / x.shape[-1]
    dice = 1 - (2 * p @ g.mT + 1) / (p.sum(-1, keepdim=True) + g.sum(-1)[:, None] + 1)
    return FOCAL_WEIGHT * focal + dice


def pairwise_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of each output's mask with each answer, (P, M, T)."""
    m, g = (logits.flatten(2) > 0).float(), (targets.flatten(2) >= 0.5).float()
    both = m @ g.mT
    return both / (m.sum(-1, keepdim=True) + g.sum(-1)[:, None] - both).clamp(min=1)


def matched(costs: Tensor, valid: Tensor) -> Tensor:
    """The least mean cost (P,) over all ways to give each valid answer an output of its own, and a little of the rest.

    Args:
        costs: (P, M, T) with M >= T.
        valid: Bool (P, T), at least one True in each row.
    """
    m, t = costs.shape[1:]
    orders = torch.tensor(list(permutations(range(m), t)), device=costs.device)  # (O, T)
    each = costs[:, orders, torch.arange(t, device=costs.device)] * valid[:, None]  # (P, O, T)
    best = each.sum(-1).amin(-1) / valid.sum(-1)
    spare = costs.masked_fill(~valid[:, None], torch.inf).amin(-1).mean(-1)
    return (best + SPARE_WEIGHT * spare) / (1 + SPARE_WEIGHT)


def prompt_loss(logits: Tensor, iou: Tensor, targets: Tensor, valid: Tensor, single: Tensor) -> tuple[Tensor, Tensor]:
    """The training loss, and the true IoU of each output with its best answer.

    Args:
        logits: (P, 4, s, s), output 0 for unambiguous prompts, 1 to 3 for ambiguous ones.
        iou: (P, 4), predicted.
        targets: (P, 3, s, s).
        valid: Bool (P, 3), which answers are right.
        single: Int64 (P,), the answer that output 0 is to give.

    Returns:
        A scalar and (P, 4).
    """
    costs = mask_costs(logits, targets)
    first = costs[:, 0].gather(1, single[:, None])
    with torch.no_grad():
        overlap = pairwise_iou(logits, targets)
        best = overlap.masked_fill(~valid[:, None], 0).amax(-1)
        best[:, 0] = overlap[:, 0].gather(1, single[:, None])[:, 0]
    loss = matched(costs[:, 1:], valid).mean() + 0.5 * first.mean() + F.mse_loss(iou.float(), best)
    return loss, best


def pair_loss(features: Tensor, ids: Tensor, anchors: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Dense pre-training: is a pixel of the same region as an anchor? Near in feature space means yes.

    Args:
        features: (N, L, D) of L pixels.
        ids: Integers (N, L), the region of each pixel.
        anchors: Int64 (N, A), pixel indices.
        scale: Logit per squared distance, the exponent of e.
        shift: Logit at distance 0, the exponent of e.

    Returns:
        The loss, like and unlike pixels of equal weight, and the mean IoU of the thresholded answers.
    """
    x = features.float()
    a = x.gather(1, anchors[..., None].expand(-1, -1, x.shape[-1]))
    distance = (a * a).sum(-1, keepdim=True) + (x * x).sum(-1)[:, None] - 2 * a @ x.mT
    logits = shift.exp() - scale.exp() * distance
    like = (ids.gather(1, anchors)[..., None] == ids[:, None]).float()
    wrong = F.binary_cross_entropy_with_logits(logits, like, reduction="none")
    total = (wrong * like).sum(-1) / like.sum(-1) + (wrong * (1 - like)).sum(-1) / (1 - like).sum(-1).clamp(min=1)
    with torch.no_grad():
        found = (logits > 0).float()
        both = (found * like).sum(-1)
        iou = both / (found.sum(-1) + like.sum(-1) - both).clamp(min=1)
    return total.mean(), iou.mean()
