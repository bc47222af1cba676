"""The app's one model, which all visitors share: one call at a time, with the embeddings of the last images.

What a visitor asks and gets it forgets at once. It knows no pages.
"""

import threading
from collections import OrderedDict
from typing import Any

from sam_batch import configfile
from sam_batch.app.photograph import Photograph
from sam_batch.config import Config, GeneratorConfig
from sam_batch.engine.factory import resolve_weights
from sam_batch.errors import SamBatchError
from sam_batch.library.embedding import Embedding, Origin
from sam_batch.library.explored import Explored
from sam_batch.library.results import Masks
from sam_batch.library.segmenter import Segmenter
from sam_batch.model import families
from sam_batch.segment.everything import Progress

MOST_EMBEDDINGS = 16  # of 4 MB each, for SAM in float32


class Model:
    """One model in memory. Its methods may be called from any thread, and wait for each other.

    Args:
        config: Model and engine, and the settings that visitors begin with.

    Raises:
        ConfigError: The model or the engine cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._lock = threading.Lock()
        self._embeddings: OrderedDict[str, Embedding] = OrderedDict()
        self._config, self._segmenter = config, Segmenter.from_config(config)

    @property
    def config(self) -> Config:
        """Of a job with this model."""
        return self._config

    @property
    def origin(self) -> Origin:
        """Which weights, and in which precision."""
        return self._segmenter.origin

    def load(self, name: str) -> None:
        """Put another model in its place, for all visitors.

        Args:
            name: `vit_b` and the like, or weights by the path or URL of their file, which says what model they are of.

        Raises:
            ConfigError: They cannot be used; the model stays.
        """
        by_file = ["model.name=auto", f"model.checkpoint={name}"]
        chosen = [f"model.name={name}", "model.checkpoint=auto"] if name in families.names() else by_file
        config = configfile.load([], [*chosen, "model.sha256=null"], defaults=self._config.model_dump())
        resolve_weights(config)  # what is wrong with them shows while the model is still there
        with self._lock:
            self._segmenter.close()
            self._embeddings.clear()
            try:
                self._segmenter = Segmenter.from_config(config)
            except SamBatchError:
                self._segmenter = Segmenter.from_config(self._config)
                raise
            self._config = config

    def explore(
        self, photograph: Photograph, generator: GeneratorConfig, progress: Progress
    ) -> tuple[Explored, Config]:
        """Find all masks of a photograph, whatever their scores; see `Segmenter.explore`.

        Returns:
            Them, and the configuration of the model that found them, with the precision that it has.
        """
        with self._lock:
            made = self._segmenter.explore(
                photograph.rgb_HW3,
                embedding=self._embedding(photograph),
                progress=progress,
                **generator.model_dump(),
            )
            engine = self._config.engine.model_copy(update={"precision": self.origin.precision})
            return made, self._config.model_copy(update={"engine": engine})

    def predict(self, photograph: Photograph, **prompts: Any) -> tuple[Masks, Origin]:
        """Find the masks of prompts over a photograph; see `Segmenter.predict`.

        Returns:
            Them, and which model found them.
        """
        with self._lock:
            return self._segmenter.predict(self._embedding(photograph), **prompts), self.origin

    def _embedding(self, photograph: Photograph) -> Embedding:
        """Made once for an image, however often it is opened, and kept while it is among the last ones."""
        embedding = self._embeddings.pop(photograph.sha256, None) or self._segmenter.embed(photograph.rgb_HW3)
        self._embeddings[photograph.sha256] = embedding
        if len(self._embeddings) > MOST_EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return embedding
