"""What finds the masks of an image: the seam between the job and its algorithms, and the list of them.

An algorithm has two parts, because two processes work on an image. Loading workers cut its views, and do without torch;
a worker with an engine holds the `Algorithm`. `ALGORITHMS` names both for each value of `generator.mode`: another one
is a file of its own and a line there. This module imports no torch.
"""

from collections.abc import Callable, Iterable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from sam_batch.config import Config
from sam_batch.errors import ConfigError
from sam_batch.records import ImageResult, LoadedImage
from sam_batch.segment.views import ViewBox, grid_views

if TYPE_CHECKING:
    from sam_batch.engine.protocol import Embeddings, Engine

Found = TypeVar("Found")

LARGE = (1 << 16, 1 << 16)  # no crop of such an image is without a pixel


class Algorithm(Protocol[Found]):
    """From an image's views to its row, in two steps: the engine's work, and what is left of it for a CPU.

    Beside a GPU the two go on at once: while one image is found, the one before is concluded in another thread.
    """

    def find(self, image: LoadedImage, embeddings: "Iterable[Embeddings]") -> Found:
        """Do all that needs the engine.

        Args:
            image: With its views.
            embeddings: Of the views, in their order; made as they are drawn.

        Raises:
            EngineError: The engine is broken, or its device has too little memory.
        """
        ...

    def conclude(self, image: LoadedImage, found: Found) -> ImageResult:
        """Do the rest, on the CPU.

        Args:
            image: The same.
            found: What `find` returned.
        """
        ...


class Entry(NamedTuple):
    """One algorithm, as the job reaches it.

    Attributes:
        views: Where it looks at an image of some height and width, as (xyxy, layer) pairs.
        algorithm: Names, as `module:function`, what makes the algorithm of an engine and the configuration: a name,
            since such modules import torch.
    """

    views: Callable[[tuple[int, int], Config], list[ViewBox]]
    algorithm: str


ALGORITHMS = {
    "everything": Entry(grid_views, "sam_batch.segment.everything:Everything.from_config"),
}


def view_boxes(image_hw: tuple[int, int], config: Config) -> list[ViewBox]:
    """Where the configured algorithm looks at an image, as (xyxy, layer) pairs."""
    return ALGORITHMS[config.generator.mode].views(image_hw, config)


def most_views(config: Config) -> int:
    """How many views the configured algorithm cuts of an image at most."""
    return len(view_boxes(LARGE, config))


def open_algorithm(engine: "Engine", config: Config) -> Algorithm[Any]:
    """The configured algorithm over an engine."""
    algorithm: Algorithm[Any] = resolve_name(ALGORITHMS[config.generator.mode].algorithm)(engine, config)
    return algorithm


def require_known(mode: str) -> None:
    """Refuse a mode that has no algorithm.

    Raises:
        ConfigError: It is none of `ALGORITHMS`.
    """
    if mode not in ALGORITHMS:
        raise ConfigError(f"generator.mode = {mode!r}: should be {' or '.join(map(repr, ALGORITHMS))}")
