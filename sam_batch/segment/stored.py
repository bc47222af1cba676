"""Candidates as rows keep them, so that an image's masks can be chosen again without the network."""

from collections.abc import Sequence

from sam_batch.masks.grids import Box
from sam_batch.masks.rle import EncodedMask
from sam_batch.records import Annotation, StoredCandidate
from sam_batch.segment.candidates import Candidate, Size, annotate


def to_stored(candidates: Sequence[Candidate], image_hw: Size) -> tuple[StoredCandidate, ...]:
    """Encode what an image's annotations are chosen from, in the same order."""
    masks = annotate(candidates, image_hw, keep_empty=True)
    return tuple(StoredCandidate(mask, one.layer) for mask, one in zip(masks, candidates, strict=True))


def from_stored(stored: Sequence[StoredCandidate], image_hw: Size) -> list[Candidate]:
    """Read back what `to_stored` was given; masks stay encoded until somebody looks at their pixels."""
    return [_candidate(one.mask, one.layer, image_hw) for one in stored]


def _candidate(mask: Annotation, layer: int, image_hw: Size) -> Candidate:
    x0, y0, width, height = map(int, mask.crop_box)
    encoded = EncodedMask(_box(mask), mask.counts, image_hw)
    crop = (x0, y0, x0 + width, y0 + height)
    return Candidate(encoded, mask.predicted_iou, mask.stability_score, mask.prompt, crop, layer)


def _box(mask: Annotation) -> Box:
    """As `Patch` has it: of an empty mask the first pixel of the crop."""
    x0, y0, width, height = map(int, mask.bbox if mask.area else (*mask.crop_box[:2], 1, 1))
    return x0, y0, x0 + width - 1, y0 + height - 1
