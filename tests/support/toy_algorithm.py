"""A whole algorithm in one file: what is bright around the middle of each half of an image is a mask."""

from collections.abc import Iterable, Sequence

import torch

from sam_batch.config import Config
from sam_batch.engine.protocol import Embeddings, Engine, Prompts
from sam_batch.records import ImageResult, LoadedImage, Prompt
from sam_batch.segment.candidates import Candidate, annotate
from sam_batch.segment.finish import choose_above, to_candidates
from sam_batch.segment.views import ViewBox


def halves(image_hw: tuple[int, int], config: Config) -> list[ViewBox]:
    """Left and right."""
    height, width = image_hw
    return [((0, 0, width // 2, height), 0), ((width // 2, 0, width, height), 0)]


class Halves:
    """See `segment.algorithm.Algorithm`."""

    def __init__(self, engine: Engine, config: Config) -> None:
        self._engine = engine

    def find(self, image: LoadedImage, embeddings: Iterable[Embeddings]) -> list[Candidate]:
        """All masks of one point a half."""
        return [mask for pair in zip(image.views, embeddings, strict=True) for mask in self._in_view(*pair)]

    def _in_view(self, view, embedding):
        height, width = view.view_hw
        points = torch.tensor([[[width / 2, height / 2]]])
        scored = self._engine.score(embedding, Prompts(points, torch.ones((1, 1), dtype=torch.int32)))
        chosen = choose_above(scored, 0.5)
        logits = self._engine.finish(scored, chosen.index_K2)
        spec = self._engine.spec
        yield from to_candidates(logits, chosen, [Prompt()], view, spec, stability_offset=1.0, min_stability=0.0)

    def conclude(self, image: LoadedImage, found: Sequence[Candidate]) -> ImageResult:
        """As they are."""
        return ImageResult.segmented(image, annotate(found, (image.height, image.width)))
