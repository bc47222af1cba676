"""The tab Automatic: everything in one photograph, under settings that can be tried. One visitor's state, and no page.

A search finds all masks once; settings that only filter are then applied to their scores, without the network. What is
on the screen can be had as a job that finds the same masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image

from sam_batch import configfile
from sam_batch.app.controls import as_text, generator_controls
from sam_batch.app.model import Model
from sam_batch.app.photograph import Photograph, sendable
from sam_batch.config import Config, GeneratorConfig
from sam_batch.errors import InputError
from sam_batch.library import shown as looks
from sam_batch.library.explored import FILTERS, Explored
from sam_batch.library.results import Masks
from sam_batch.output.render import segment_cutouts
from sam_batch.records import Annotation
from sam_batch.wording import counted

PAGE: Final = 24  # segments of a gallery that are made at once
MIN_AREA: Final = "output.segments.min_area"
_NO_NETWORK: Final = {*FILTERS, "points_per_batch"}


@dataclass(frozen=True, slots=True)
class Segment:
    """A cut-out of the gallery.

    Attributes:
        annotation: Its mask.
        png: RGBA, cut to the mask's box; transparent outside of the mask.
    """

    annotation: Annotation
    png: bytes


class Automatic:
    """What one visitor does with one photograph.

    Attributes:
        config: The settings, as a job has them; replaced as a whole where one changes.
        photograph: None before one is opened.
        progress: Of the search that goes on, 0 to 1; None while there is none.
    """

    def __init__(self, model: Model) -> None:
        self.photograph: Photograph | None = None
        self.progress: float | None = None
        self._model, self._begun_with = model, model.config
        self.config: Config = model.config
        self._texts: dict[str, str] = {}
        self._explored: tuple[Explored, Config] | None = None
        self._filtered: tuple[GeneratorConfig, Masks] | None = None
        self._stopped = False

    def begin(self, photograph: Photograph) -> None:
        """Begin with another photograph, under the same settings."""
        self.photograph = photograph
        self.forget()

    def forget(self) -> None:
        """Let go of the masks, so that the next ones are of the model that is there now."""
        self._explored, self._filtered = None, None

    def value(self, key: str) -> str:
        """What a setting is, as an override says it; what was refused stays until it is mended."""
        if key in self._texts:
            return self._texts[key]
        value: Any = self.config
        for name in key.split("."):
            value = getattr(value, name)
        return as_text(value)

    def set(self, key: str, text: str) -> None:
        """Change a setting.

        Args:
            key: `generator.pred_iou_thresh` and the like.
            text: As an override says it.

        Raises:
            ConfigError: It cannot be that, by itself or beside the others. The settings stay what they were, and this
                one counts as soon as all fit together.
        """
        self._texts[key] = text
        overrides = [f"{name}={value}" for name, value in self._texts.items()]
        self.config = configfile.load([], overrides, defaults=self._begun_with.model_dump())

    def set_defaults(self) -> None:
        """Put all settings of the generator to the configuration's defaults."""
        self._texts = {control.key: control.default for control in generator_controls()}
        self.set(MIN_AREA, self.value(MIN_AREA))

    @property
    def needs_search(self) -> bool:
        """Whether there are no masks, or those found are of settings that do more than filter."""
        if self._explored is None:
            return True
        return _of_network(self._explored[0].generator) != _of_network(self.config.generator)

    def search(self) -> None:
        """Find all masks of the photograph, whatever filters are set; takes as long as the network does.

        Raises:
            InputError: There is no photograph, or a search goes on.
        """
        photograph = self._opened()
        if self.progress is not None:
            raise InputError("a search goes on already")
        self.progress, self._stopped = 0.0, False
        try:
            explored = self._model.explore(photograph, self.config.generator, self._tell)
        except _StoppedError:
            return
        finally:
            self.progress = None
        if self.photograph is photograph:  # else another one was opened meanwhile
            self._explored, self._filtered = explored, None

    def stop(self) -> None:
        """End the search that goes on, without masks."""
        self._stopped = True

    def _tell(self, share: float) -> None:
        if self._stopped:
            raise _StoppedError
        self.progress = share

    @property
    def masks(self) -> Masks | None:
        """What the settings leave of what was found; None before a search, or where they need another one."""
        if self._explored is None or self.needs_search:
            return None
        generator = self.config.generator
        if self._filtered is None or self._filtered[0] != generator:
            filters = {name: getattr(generator, name) for name in FILTERS}
            self._filtered = generator, self._explored[0].masks(**filters)
        return self._filtered[1]

    def picture(self) -> str:
        """The colour mask as a `data:` address; the photograph alone where there are no masks yet.

        Raises:
            InputError: There is no photograph.
        """
        photograph = self._opened()
        if (masks := self.masks) is None:
            return photograph.picture()
        return sendable(np.asarray(Image.open(BytesIO(looks.drawn(masks, self.config.output.color_masks, "jpeg")))))

    def color_mask(self) -> bytes:
        """The colour mask as a job writes it.

        Raises:
            InputError: There are no masks.
        """
        how = self.config.output.color_masks
        return looks.drawn(self._found(), how, how.format)

    def told(self) -> str:
        """How many masks there are, or what is missing for some."""
        if self.photograph is None:
            return "no photograph yet"
        masks = self.masks
        return "these settings need a search" if masks is None else counted(len(masks), "mask")

    @property
    def segment_count(self) -> int:
        """Masks with at least `output.segments.min_area` pixels."""
        return 0 if (masks := self.masks) is None else len(self._large(masks))

    def segments(self, page: int = 0) -> list[Segment]:
        """The cut-outs of some of these masks: `PAGE` at most, those with the most pixels first."""
        if (masks := self.masks) is None or masks.pixels is None:
            return []
        shown = self._large(masks)[page * PAGE :][:PAGE]
        pngs = segment_cutouts(masks.pixels, shown, min_area=1, frame="crop")
        return [Segment(annotation, png) for annotation, (_, png) in zip(shown, pngs, strict=True)]

    def _large(self, masks: Masks) -> Sequence[Annotation]:
        large = [one for one in masks.annotations if one.area >= max(1, self.config.output.segments.min_area)]
        return sorted(large, key=lambda one: -one.area)

    def to_yaml(self) -> str:
        """A job over this photograph that finds the masks on the screen, with every setting.

        Raises:
            InputError: There are no masks.
        """
        self._found()
        return configfile.to_yaml(self.job()) + self._remark()

    def job(self) -> Config:
        """The settings as a job over this photograph has them, with the model of the masks that were found."""
        config, model = self.config, self._model.config if self._explored is None else self._explored[1]
        uri = config.input.uri if self.photograph is None else self.photograph.uri
        source = config.input.model_copy(update={"uri": uri})
        return config.model_copy(update={"input": source, "model": model.model, "engine": model.engine})

    def _remark(self) -> str:
        if self.photograph is None or not self.photograph.was_uploaded:
            return ""
        return "# The photograph was uploaded: input.uri is its name, and wants the folder it lies in.\n"

    def _opened(self) -> Photograph:
        if self.photograph is None:
            raise InputError("open a photograph first")
        return self.photograph

    def _found(self) -> Masks:
        if (masks := self.masks) is None:
            raise InputError("there are no masks of these settings yet; search first")
        return masks


class _StoppedError(Exception):
    """The visitor wants no masks any more."""


def _of_network(generator: GeneratorConfig) -> dict[str, Any]:
    """What the network is asked with."""
    return generator.model_dump(exclude=_NO_NETWORK)
