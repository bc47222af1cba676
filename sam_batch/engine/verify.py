"""An engine against another one, number by number: is it near enough to be used?

Fast engines have returned wrong masks without a word (fused attention in half precision, more than once). So before one
is used it sees photographs and prompts of every kind, and its numbers are held against those of torch in float32.
Nothing here suppresses or filters: masks are compared prompt by prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from sam_batch.config import VerifyConfig
from sam_batch.engine.protocol import Embeddings, Engine, Prompts

POINTS_PER_SIDE = 8
BOXES_PER_SIDE = 3


class Photograph(NamedTuple):
    """One picture as engines take it.

    Attributes:
        image: (3, S, S) float32, normalised, zero-padded at the right and bottom.
        height: Of the picture in it, in pixels.
        width: Likewise.
    """

    image: Tensor
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far an engine is from the reference.

    Attributes:
        images: Photographs compared.
        masks: That pass the threshold on predicted IoU in the reference.
        cosine: Between two feature maps of an image, the least.
        embedding_error: Largest difference, in standard deviations of the reference's feature map.
        iou_error: Largest difference between two predicted IoUs.
        logits_error: Mean difference between the logits of those masks, in standard deviations of the reference's.
        mask_iou: Mean IoU of those masks, low-resolution.
        count_change: By how much the number of masks that pass differs, of the reference's.
    """

    images: int
    masks: int
    cosine: float
    embedding_error: float
    iou_error: float
    logits_error: float
    mask_iou: float
    count_change: float

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Self:
        """From what `asdict` made of it, and perhaps more."""
        return cls(**{one.name: stored[one.name] for one in fields(cls)})

    def faults(self, limits: VerifyConfig) -> list[str]:
        """Which limits it breaks, in words; none if it may be used. Where `masks` is 0, nothing can be judged."""
        checks = [
            (self.cosine >= limits.min_cosine, f"cosine {self.cosine:.6f} < {limits.min_cosine:g}"),
            (self.iou_error <= limits.max_iou_error, f"IoU error {self.iou_error:.4f} > {limits.max_iou_error:g}"),
            (self.mask_iou >= limits.min_mask_iou, f"mask IoU {self.mask_iou:.4f} < {limits.min_mask_iou:g}"),
            (
                self.count_change <= limits.max_count_change,
                f"count of masks changes by {self.count_change:.2%} > {limits.max_count_change:.2%}",
            ),
        ]
        return [fault for passed, fault in checks if not passed]

    def to_text(self) -> str:
        """For a person."""
        return (
            f"{self.images} photographs: embedding cosine {self.cosine:.6f}, error {self.embedding_error:.2g}; "
            f"IoU error {self.iou_error:.2g}; logits error {self.logits_error:.2g}; "
            f"{self.masks} masks, {self.count_change:+.2%}, mean IoU {self.mask_iou:.4f}"
        )

    def to_json(self) -> dict[str, Any]:
        """As it is kept beside the plans."""
        return asdict(self)


class _Round(NamedTuple):
    """One call of `score` and `finish` on both engines; the reference's numbers first.

    Attributes:
        iou: Two of (P, M).
        logits: Two of (K, h, w), of the masks that pass in the reference.
        passed: Two counts.
    """

    iou: tuple[Tensor, Tensor]
    logits: tuple[Tensor, Tensor]
    passed: tuple[int, int]


@torch.inference_mode()
def compare(
    engine: Engine, reference: Engine, photographs: Sequence[Photograph], pred_iou_thresh: float, *, prompts: bool
) -> Comparison:
    """Run both over the same photographs and prompts: points, boxes, and where it takes them, masks and both.

    Args:
        engine: To be judged.
        reference: torch in float32, of the same weights.
        photographs: At least one.
        pred_iou_thresh: Masks whose predicted IoU is above it are compared.
        prompts: Whether the engine takes prompts that are not one point or one box each.

    Raises:
        EngineError: One of them fails.
    """
    cosines, errors = [], []
    rounds: list[_Round] = []
    for photograph in photographs:
        embeddings = [one.embed(photograph.image[None])[0] for one in (reference, engine)]
        for maps in zip(*(one.features for one in embeddings), strict=True):
            expected, found = (one.float().cpu() for one in maps)
            cosines.append(F.cosine_similarity(expected.flatten(), found.flatten(), dim=0).item())
            errors.append(((found - expected).abs().max() / expected.std()).item())
        rounds += _rounds((reference, engine), embeddings, photograph, pred_iou_thresh, prompts)
    threshold = reference.spec.mask_threshold
    overlaps = torch.cat([_overlap(one.logits, threshold) for one in rounds])
    misses = torch.cat([_error(one.logits) for one in rounds])
    expected_count, found_count = (sum(one.passed[which] for one in rounds) for which in (0, 1))
    return Comparison(
        images=len(photographs),
        masks=expected_count,
        cosine=min(cosines),
        embedding_error=max(errors),
        iou_error=max((one.iou[1] - one.iou[0]).abs().max().item() for one in rounds),
        logits_error=_mean(misses, 0.0),
        mask_iou=_mean(overlaps, 1.0),
        count_change=abs(found_count - expected_count) / max(1, expected_count),
    )


def _rounds(
    engines: tuple[Engine, Engine],
    embeddings: Sequence[Embeddings],
    photograph: Photograph,
    threshold: float,
    others: bool,
) -> Iterator[_Round]:
    def play(prompts: Prompts) -> _Round:
        scored = [one.score(embedding, prompts) for one, embedding in zip(engines, embeddings, strict=True)]
        expected, found = (one.iou.cpu() for one in scored)
        chosen_K2 = (expected > threshold).nonzero()
        logits = [one.finish(state, chosen_K2).cpu() for one, state in zip(engines, scored, strict=True)]
        passed = int((expected > threshold).sum()), int((found > threshold).sum())
        return _Round((expected, found), (logits[0], logits[1]), passed)

    points_P2 = _grid(POINTS_PER_SIDE, photograph)
    labels = torch.ones((len(points_P2), 1), dtype=torch.int32)
    yield play(Prompts(points=points_P2[:, None], labels=labels))
    yield play(Prompts(points=points_P2[:, None], labels=labels, multimask=False))
    yield play(Prompts(boxes=_boxes(photograph)))
    if not others:
        return
    scored = engines[0].score(embeddings[0], Prompts(points=points_P2[:, None], labels=labels, multimask=False))
    first_K2 = torch.stack([torch.arange(len(points_P2)), torch.zeros(len(points_P2), dtype=torch.int64)], dim=1)
    earlier_P1hw = engines[0].finish(scored, first_K2)[:, None]
    yield play(Prompts(points=points_P2[:, None], labels=labels, masks=earlier_P1hw))
    yield play(Prompts(masks=earlier_P1hw))
    boxes, centers_P12 = _boxes(photograph), _grid(BOXES_PER_SIDE, photograph)[:, None]
    yield play(Prompts(points=centers_P12, labels=labels[: len(boxes)], boxes=boxes))


def _grid(per_side: int, photograph: Photograph) -> Tensor:
    """(per_side², 2) points spread over the picture."""
    steps = (torch.arange(per_side) + 0.5) / per_side
    return torch.cartesian_prod(steps * photograph.width, steps * photograph.height)


def _boxes(photograph: Photograph) -> Tensor:
    """(9, 4) boxes of a quarter of the picture, around the points of a grid."""
    centers = _grid(BOXES_PER_SIDE, photograph)
    quarter = torch.tensor([photograph.width, photograph.height]) / 4
    return torch.cat([(centers - quarter).clamp(min=0), torch.minimum(centers + quarter, 4 * quarter)], dim=1)


def _overlap(logits: tuple[Tensor, Tensor], threshold: float) -> Tensor:
    """(K,) IoU of two masks; two empty ones are equal."""
    expected, found = (one_Khw > threshold for one_Khw in logits)
    union_K = (expected | found).sum(dim=(1, 2))
    both_K = (expected & found).sum(dim=(1, 2))
    return torch.where(union_K == 0, 1.0, both_K / union_K.clamp(min=1))


def _error(logits: tuple[Tensor, Tensor]) -> Tensor:
    """(K,) mean difference of logits, in standard deviations of the expected ones."""
    expected_Khw, found_Khw = logits
    spread_K = (expected_Khw - expected_Khw.mean(dim=(1, 2), keepdim=True)).square().mean(dim=(1, 2)).sqrt()
    return (found_Khw - expected_Khw).abs().mean(dim=(1, 2)) / spread_K.clamp(min=1e-6)


def _mean(values: Tensor, empty: float) -> float:
    return values.mean().item() if len(values) else empty
