"""Embeddings of many images' views: made in batches, of which the next is normalised while the present one is used."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import accumulate, islice

import torch
from torch import Tensor

from sam_batch.engine.preprocess import Normaliser
from sam_batch.engine.protocol import Embeddings, Engine, EngineSpec
from sam_batch.errors import NonFiniteError
from sam_batch.records import View
from sam_batch.segment.ahead import ahead
from sam_batch.segment.memory import BatchSize

MOST_VIEWS = 8  # more at once keep a GPU no busier
BYTES_A_VIEW = 4 << 30  # ViT-H in float32 with three matrices of global attention, 16 heads of 4096 x 4096


def views_at_once(spec: EngineSpec) -> int:
    """How many views are embedded together: on a GPU as many as its free memory allows, on a CPU one."""
    if not spec.on_gpu:
        return 1
    free, _ = torch.cuda.mem_get_info(spec.device)
    return max(1, min(MOST_VIEWS, free // BYTES_A_VIEW))


class Embedder:
    """Embeds views in batches as large as memory allows.

    Args:
        engine: Any.
        at_once: Views in a batch; None asks `views_at_once`.
    """

    def __init__(self, engine: Engine, at_once: int | None = None) -> None:
        self._engine = engine
        self._at_once = at_once or views_at_once(engine.spec)
        self._size = BatchSize("views embedded at once", self._at_once, engine.spec)
        self._normalise = Normaliser(engine.spec)

    def embed(self, images: Sequence[Sequence[View]], pool: Executor | None = None) -> list[Iterator[Embeddings]]:
        """Give, for each image, its views' embeddings in order, not made before the first of a batch is asked for.

        The iterators must be used up one after the other, but each may be left early. What an iterator raises is its
        own image's fault.

        Args:
            images: Views of each.
            pool: Normalises the next batch while the present one is used; None does it when its turn comes.
        """
        views = [view for image in images for view in image]
        batches = (views[start : start + self._at_once] for start in range(0, len(views), self._at_once))
        made = _Batches(self, views, self._at_once, ahead(self._normalise, batches, pool))
        ends = accumulate(map(len, images))
        return [map(made.at, range(end - len(image), end)) for image, end in zip(images, ends, strict=True)]

    def embed_batch(self, normalised: Callable[[], Tensor]) -> list[Embeddings]:
        """Embed a batch; nothing, if one of its views cannot be embedded, whichever it is.

        Raises:
            EngineError: The engine is broken.
        """
        try:
            images_N3SS = normalised()
            batches = self._size.over(len(images_N3SS), lambda some: self._engine.embed(images_N3SS[some]))
            return [embedding for batch in batches for embedding in batch]
        except (NonFiniteError, RuntimeError, ValueError):  # torch's own errors are RuntimeErrors
            return []

    def embed_single(self, view: View) -> Embeddings:
        """Embed one view, which answers for itself."""
        (embedding,) = self._size.over(1, lambda _: self._engine.embed(self._normalise([view])))
        return embedding


class _Batches:
    """The embeddings of a sequence of views, of which one batch at a time is kept."""

    def __init__(
        self, embedder: Embedder, views: Sequence[View], size: int, normalised: Iterator[Callable[[], Tensor]]
    ) -> None:
        self._embedder, self._views, self._size, self._normalised = embedder, views, size, normalised
        self._batch = -1
        self._embeddings: list[Embeddings] = []

    def at(self, index: int) -> Embeddings:
        """The embedding of a view; indices must not fall."""
        batch, place = divmod(index, self._size)
        if batch > self._batch:
            self._embeddings = []
            normalised = next(islice(self._normalised, batch - self._batch - 1, None))
            self._batch = batch
            self._embeddings = self._embedder.embed_batch(normalised)
        return self._embeddings[place] if self._embeddings else self._embedder.embed_single(self._views[index])
