"""What finds the masks of an image: the seam between the job and its algorithms, and the list of them.

An algorithm has two parts, because two processes work on an image. Loading workers cut its views, and do without torch;
a worker with an engine holds the `Algorithm`. `ALGORITHMS` names both for each value of `generator.mode`, and
`PROMPTED` for images that carry prompts, which are segmented by these whatever the mode is: the data decide. Another
algorithm is a file of its own and a line there. This module imports no torch.
"""

from collections.abc import Callable, Iterable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from sam_batch.config import Config
from sam_batch.errors import ConfigError
from sam_batch.records import ImageResult, LoadedImage
from sam_batch.segment.views import ViewBox, grid_views, whole_view

if TYPE_CHECKING:
    from sam_batch.engine.protocol import Embeddings, Engine

Found = TypeVar("Found")
Views: TypeAlias = Callable[[tuple[int, int], Config], list[ViewBox]]
"""Where an algorithm looks at an image of some height and width, as (xyxy, layer) pairs."""

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
        views: A function of a module: processes that decode are told its name.
        algorithm: Names, as `module:function`, what makes the algorithm of an engine and the configuration: a name,
            since such modules import torch.
    """

    views: Views
    algorithm: str


def _whole(image_hw: tuple[int, int], config: Config) -> list[ViewBox]:
    return whole_view(image_hw)


ALGORITHMS = {
    "everything": Entry(grid_views, "sam_batch.segment.everything:Everything.from_config"),
}


PROMPTED = Entry(_whole, "sam_batch.segment.prompted:Prompted.from_config")


def views_of(config: Config, *, prompted: bool = False) -> Views:
    """Where an algorithm looks at its images.

    Args:
        config: Names the algorithm of images without prompts.
        prompted: They carry prompts.
    """
    return _entry(config, prompted).views


def most_views(config: Config) -> int:
    """How many views are cut of an image at most."""
    return len(views_of(config)(LARGE, config))


def open_algorithm(engine: "Engine", config: Config) -> Algorithm[Any]:
    """What finds the masks of any image over an engine, with or without prompts."""
    if config.prompts.uri is None:
        return _open(engine, config, prompted=False)
    return _ByImage({prompted: _open(engine, config, prompted) for prompted in (False, True)})


def _open(engine: "Engine", config: Config, prompted: bool) -> Algorithm[Any]:
    algorithm: Algorithm[Any] = resolve_name(_entry(config, prompted).algorithm)(engine, config)
    return algorithm


def _entry(config: Config, prompted: bool) -> Entry:
    return PROMPTED if prompted else ALGORITHMS[config.generator.mode]


class _ByImage:
    """Gives each image to the algorithm it is for."""

    def __init__(self, algorithms: Mapping[bool, Algorithm[Any]]) -> None:
        self._algorithms = algorithms

    def find(self, image: LoadedImage, embeddings: "Iterable[Embeddings]") -> Any:
        return self._algorithms[image.prompts is not None].find(image, embeddings)

    def conclude(self, image: LoadedImage, found: Any) -> ImageResult:
        return self._algorithms[image.prompts is not None].conclude(image, found)


def require_known(mode: str) -> None:
    """Refuse a mode that has no algorithm.

    Raises:
        ConfigError: It is none of `ALGORITHMS`.
    """
    if mode not in ALGORITHMS:
        raise ConfigError(f"generator.mode = {mode!r}: should be {' or '.join(map(repr, ALGORITHMS))}")
