"""An engine against another one, number by number: is it near enough to be used?

Fast engines have returned wrong masks without a word (fused attention in half precision, more than once). So before one
is used it sees photographs and prompts of every kind, in batches of every size it was built for (one was wrong at one
size alone), and its numbers are held against those of torch in float32. Nothing here suppresses or filters: masks are
compared prompt by prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from sam_batch.config_engine import VerifyConfig
from sam_batch.engine.protocol import Embeddings, Engine, Prompts

POINTS_PER_SIDE = 8
BOXES_PER_SIDE = 3
SMALL_BATCH = 16


class Batches(NamedTuple):
    """The most that an engine takes at once.

    Attributes:
        images: In one call of its encoder.
        prompts: In one call of its decoder.
    """

    images: int
    prompts: int


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
        worst_mask_iou: The least of them.
        count_change: By how much the number of masks that pass differs, of the reference's.
    """

    images: int
    masks: int
    cosine: float
    embedding_error: float
    iou_error: float
    logits_error: float
    mask_iou: float
    worst_mask_iou: float
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
                self.worst_mask_iou >= limits.min_worst_mask_iou,
                f"worst mask's IoU {self.worst_mask_iou:.4f} < {limits.min_worst_mask_iou:g}",
            ),
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
            f"{self.masks} masks, {self.count_change:+.2%}, IoU {self.mask_iou:.4f}, "
            f"worst {self.worst_mask_iou:.4f}"
        )

    def to_json(self) -> dict[str, Any]:
        """As it is kept beside the plans."""
        return asdict(self)


class _Round(NamedTuple):
    """One call of `score` and `finish` on both engines.

    Attributes:
        iou_error: Largest difference between two predicted IoUs.
        overlap_K: IoU of the masks that pass in the reference.
        error_K: Mean difference of their logits, in standard deviations of the reference's.
        passed: How many pass, in the reference and in the engine.
    """

    iou_error: float
    overlap_K: Tensor
    error_K: Tensor
    passed: tuple[int, int]


@torch.inference_mode()
def compare(
    engine: Engine,
    reference: Engine,
    photographs: Sequence[Photograph],
    pred_iou_thresh: float,
    batches: Batches,
    *,
    prompts: bool,
) -> Comparison:
    """Run both over the same photographs and prompts: points, boxes, and where it takes them, masks and both.

    Args:
        engine: To be judged.
        reference: torch in float32, of the same weights.
        photographs: At least one.
        pred_iou_thresh: Masks whose predicted IoU is above it are compared.
        batches: That the engine was built for: each size up to 16 is tried, and each sixteenth above.
        prompts: Whether the engine takes prompts that are not one point or one box each.

    Raises:
        EngineError: One of them fails.
    """
    expected = [reference.embed(photograph.image[None])[0] for photograph in photographs]
    embedded = engine.embed(torch.stack([photograph.image for photograph in photographs]))
    near = list(map(_nearness, expected, embedded))
    for size in _sizes(batches.images):
        if size != len(photographs):
            which = [at % len(photographs) for at in range(size)]
            found = engine.embed(torch.stack([photographs[one].image for one in which]))
            near += map(_nearness, (expected[one] for one in which), found)
    rounds: list[_Round] = []
    for photograph, wanted, embedding in zip(photographs, expected, embedded, strict=True):
        pair = _Pair((reference, engine), (wanted, embedding), photograph, pred_iou_thresh)
        rounds += _kinds(pair, prompts)
        if photograph is photographs[0]:
            rounds += _batches(pair, batches.prompts, prompts)
    overlaps = torch.cat([played.overlap_K for played in rounds])
    expected_count, found_count = (sum(played.passed[which] for played in rounds) for which in (0, 1))
    return Comparison(
        images=len(photographs),
        masks=expected_count,
        cosine=min(cosine for cosine, _ in near),
        embedding_error=max(error for _, error in near),
        iou_error=max(played.iou_error for played in rounds),
        logits_error=_mean(torch.cat([played.error_K for played in rounds]), 0.0),
        mask_iou=_mean(overlaps, 1.0),
        worst_mask_iou=overlaps.min().item() if len(overlaps) else 1.0,
        count_change=abs(found_count - expected_count) / max(1, expected_count),
    )


def _sizes(most: int) -> list[int]:
    """Of batches: each that is small, where compilers choose otherwise from one to the next, and some of the large."""
    return sorted({*range(1, min(most, SMALL_BATCH) + 1), *range(SMALL_BATCH, most, SMALL_BATCH), most})


def _nearness(expected: Embeddings, found: Embeddings) -> tuple[float, float]:
    """The least cosine of two feature maps, and their largest difference in standard deviations of the expected."""
    pairs = [
        (one.float().cpu(), other.float().cpu()) for one, other in zip(expected.features, found.features, strict=True)
    ]
    cosines = [F.cosine_similarity(one.flatten(), other.flatten(), dim=0).item() for one, other in pairs]
    return min(cosines), max(((other - one).abs().max() / one.std()).item() for one, other in pairs)


class _Pair(NamedTuple):
    """The reference and the engine, each with its embedding of a photograph.

    Attributes:
        engines: The reference first.
        embeddings: Likewise.
        photograph: Of which they are.
        threshold: Masks whose predicted IoU is above it in the reference are compared.
    """

    engines: tuple[Engine, Engine]
    embeddings: tuple[Embeddings, Embeddings]
    photograph: Photograph
    threshold: float

    def passing(self, prompts: Prompts) -> Tensor:
        """(K,) which prompts have a mask that passes in the reference; all of them where none has."""
        scored = self.engines[0].score(self.embeddings[0], prompts)
        passes_P = (scored.iou > self.threshold).any(dim=1).cpu()
        return (passes_P if passes_P.any() else ~passes_P).nonzero().flatten()

    def play(self, prompts: Prompts) -> _Round:
        """Ask both."""
        scored = [one.score(embedding, prompts) for one, embedding in zip(self.engines, self.embeddings, strict=True)]
        expected, found = (one.iou.cpu() for one in scored)
        chosen_K2 = (expected > self.threshold).nonzero()
        wanted_Khw, found_Khw = (
            one.finish(state, chosen_K2).cpu() for one, state in zip(self.engines, scored, strict=True)
        )
        return _Round(
            iou_error=(found - expected).abs().max().item(),
            overlap_K=_overlap(wanted_Khw, found_Khw, self.engines[0].spec.mask_threshold),
            error_K=_error(wanted_Khw, found_Khw),
            passed=(len(chosen_K2), int((found > self.threshold).sum())),
        )


def _kinds(pair: _Pair, others: bool) -> Iterator[_Round]:
    """Prompts of each kind."""
    points = _points(_grid(POINTS_PER_SIDE, pair.photograph))
    single = replace(points, multimask=False)
    boxes = _boxes(pair.photograph)
    yield from map(pair.play, (points, single, Prompts(boxes=boxes)))
    if others:
        earlier_P1hw = _earlier(pair, single)
        yield pair.play(replace(single, multimask=True, masks=earlier_P1hw))
        yield pair.play(Prompts(masks=earlier_P1hw))
        yield pair.play(replace(_points(_grid(BOXES_PER_SIDE, pair.photograph)), boxes=boxes))


def _batches(pair: _Pair, most: int, others: bool) -> Iterator[_Round]:
    """Prompts of one kind, or also of that which is not one point or box, in batches of each size.

    They are of those that pass, else `finish` would see smaller batches.
    """
    grid_P2 = _grid(POINTS_PER_SIDE, pair.photograph)
    passing_K2 = grid_P2[pair.passing(_points(grid_P2))]
    for size in _sizes(most):
        batch = _points(passing_K2[torch.arange(size) % len(passing_K2)])
        yield pair.play(batch)
        if others:
            yield pair.play(replace(batch, masks=_earlier(pair, replace(batch, multimask=False))))


def _earlier(pair: _Pair, single: Prompts) -> Tensor:
    """(P, 1, h, w), the logits that the reference answers with, to be given back as prompts."""
    first_K2 = torch.stack([torch.arange(len(single)), torch.zeros(len(single), dtype=torch.int64)], dim=1)
    reference, embedding = pair.engines[0], pair.embeddings[0]
    return reference.finish(reference.score(embedding, single), first_K2)[:, None]


def _points(points_P2: Tensor) -> Prompts:
    """Prompts of one point each."""
    return Prompts(points=points_P2[:, None], labels=torch.ones((len(points_P2), 1), dtype=torch.int32))


def _grid(per_side: int, photograph: Photograph) -> Tensor:
    """(per_side², 2) points spread over the picture."""
    steps = (torch.arange(per_side) + 0.5) / per_side
    return torch.cartesian_prod(steps * photograph.width, steps * photograph.height)


def _boxes(photograph: Photograph) -> Tensor:
    """(9, 4) boxes of a quarter of the picture, around the points of a grid."""
    centers = _grid(BOXES_PER_SIDE, photograph)
    quarter = torch.tensor([photograph.width, photograph.height]) / 4
    return torch.cat([(centers - quarter).clamp(min=0), torch.minimum(centers + quarter, 4 * quarter)], dim=1)


def _overlap(expected_Khw: Tensor, found_Khw: Tensor, threshold: float) -> Tensor:
    """(K,) IoU of two masks; two empty ones are equal."""
    expected, found = expected_Khw > threshold, found_Khw > threshold
    union_K = (expected | found).sum(dim=(1, 2))
    both_K = (expected & found).sum(dim=(1, 2))
    return torch.where(union_K == 0, 1.0, both_K / union_K.clamp(min=1))


def _error(expected_Khw: Tensor, found_Khw: Tensor) -> Tensor:
    """(K,) mean difference of logits, in standard deviations of the expected ones."""
    spread_K = (expected_Khw - expected_Khw.mean(dim=(1, 2), keepdim=True)).square().mean(dim=(1, 2)).sqrt()
    return (found_Khw - expected_Khw).abs().mean(dim=(1, 2)) / spread_K.clamp(min=1e-6)


def _mean(values: Tensor, empty: float) -> float:
    return values.mean().item() if len(values) else empty
