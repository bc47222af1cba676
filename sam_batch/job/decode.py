"""What a decoder does, in a process of its own: an image's bytes to its views. It imports little, to start soon."""

import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from sam_batch.config import Config
from sam_batch.data import pixels
from sam_batch.job.boundary import tried
from sam_batch.job.notes import noted
from sam_batch.records import Failure, PixelNote, Stage, View
from sam_batch.segment.algorithm import Views
from sam_batch.segment.views import cut_views


class Settings(NamedTuple):
    """What of a job counts for that.

    Attributes:
        config: The configuration.
        views: Where the algorithm looks at such an image.
        image_side: S, the longest side of each view.
    """

    config: Config
    views: Views
    image_side: int


class Cut(NamedTuple):
    """What is left of an image.

    Attributes:
        height: Of the decoded, oriented image, in pixels.
        width: Likewise.
        orientation: EXIF's, 1 to 8, that was applied.
        notes: What was lost, in the order of `PixelNote`.
        views: The whole image first, then the crops.
    """

    height: int
    width: int
    orientation: int
    notes: tuple[PixelNote, ...]
    views: tuple[View, ...]


class Answer(NamedTuple):
    """How it went.

    Attributes:
        image: The image, or why it failed.
        warnings: What the package warned of meanwhile.
    """

    image: Cut | Failure
    warnings: list[str]


def decode(data: bytes, settings: bytes, *, reserve: Callable[[pixels.Size], object]) -> Answer:
    """Decode an image and cut it into views.

    Args:
        data: The whole file.
        settings: `Settings`, pickled: to do that for each image would cost more than all the rest of the way.
        reserve: As of `pixels.decode`.
    """
    warnings: list[str] = []
    with noted(warnings):
        image = tried(Stage.LOAD, lambda: _cut(data, _unpickled(settings), reserve))
    return Answer(image, warnings)


@lru_cache(maxsize=2)  # of images with prompts and without
def _unpickled(settings: bytes) -> Settings:
    unpickled: Settings = pickle.loads(settings)  # noqa: S301 - this program's own
    return unpickled


def _cut(data: bytes, settings: Settings, reserve: Callable[[pixels.Size], object]) -> Cut:
    image = pixels.decode(data, settings.config.input, reserve)
    height, width = image.rgb_HW3.shape[:2]
    boxes = settings.views((height, width), settings.config)
    views = cut_views(image.rgb_HW3, boxes, settings.image_side)
    return Cut(height, width, image.orientation, image.notes, views)
