"""YOLO folders as prompts: a text file an image, a line an object; names of classes in data.yaml, classes.txt, *.names.

A line has a class and normalised numbers: `cx cy w h`, with a score behind them in predictions; or the corners of a
polygon, of which the bounds are taken; or, where data.yaml has `kpt_shape`, a box and key points. An image is meant by
its label file's path, `labels/` for `images/`.
"""

import io
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from sam_batch.config_prompts import PromptsConfig
from sam_batch.data.storage import shown
from sam_batch.errors import ConfigError
from sam_batch.prompts.items import Category, Item, Mistake, Place, SourceImage, SourceObject
from sam_batch.records import Prompt

_NAMES: Final = (".names", "/classes.txt")
_YAML: Final = (".yaml", ".yml")
_BOX, _SCORED_BOX, _SMALLEST_POLYGON = 5, 6, 7  # numbers in a line
_VISIBLE, _LABELLED = 2, 1
_BEYOND = 1.5  # of a normalised coordinate


class YoloReader:
    """Reads one file after the other, descriptions first.

    Args:
        config: Which parts are taken.
    """

    def __init__(self, config: PromptsConfig) -> None:
        self._config = config
        self._points, self._numbers = 0, 0  # of an object: key points, and numbers each

    def read(self, name: str, file: io.BufferedReader) -> Iterator[Item]:
        """All that a file says.

        Raises:
            ConfigError: It is not UTF-8, or no YAML where it should be.
        """
        try:
            text = file.read().decode("utf-8-sig")
            if name.endswith(_YAML):
                yield from self._description(yaml.safe_load(text))
            elif name.endswith(_NAMES):
                yield from (Category(number, line.strip()) for number, line in enumerate(text.splitlines()) if line)
            else:
                yield from self._labels(name, text)
        except (UnicodeDecodeError, yaml.YAMLError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"prompts.uri: {shown(name)}: cannot be read: {reason}") from error

    def _description(self, value: Any) -> Iterator[Item]:
        names = value.get("names", ()) if isinstance(value, Mapping) else ()
        pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
        yield from (Category(int(number), str(name)) for number, name in pairs)
        if isinstance(value, Mapping) and value.get("kpt_shape"):
            self._points, self._numbers = map(int, value["kpt_shape"])

    def _labels(self, name: str, text: str) -> Iterator[Item]:
        stem = posixpath.splitext(name)[0]
        above, _, below = stem.rpartition("/labels/")
        image = SourceImage(stem, f"{above}/images/{below}" if above else stem, normalised=True, is_stem=True)
        yield image
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                place = Place(name, "line", number)
                try:
                    yield self._object(place, stem, f"{below or posixpath.basename(stem)}:{number}", line.split())
                except ValueError as error:
                    yield Mistake(place, f"{error}: {line[:80]!r}")

    def _object(self, place: Place, image: str, prompt_id: str, cells: Sequence[str]) -> SourceObject:
        category_id, numbers = int(cells[0]), [float(cell) for cell in cells[1:]]
        box, points, score = self._parts(numbers)
        if any(abs(number) > _BEYOND for number in (*(box or ()), *(side for point in points for side in point))):
            raise ValueError("its numbers are no shares of an image's sides")
        use = self._config.use
        prompt = Prompt(
            points=points if "points" in use else (),
            labels=(1,) * len(points) if "points" in use else (),
            box=box if "box" in use else None,
            prompt_id=prompt_id,
            category_id=category_id,
        )
        return SourceObject(place, image, prompt, score)

    def _parts(self, numbers: Sequence[float]) -> tuple[Any, tuple[tuple[float, float], ...], float | None]:
        """Box, key points and score."""
        count = len(numbers) + 1
        if self._points and count == _BOX + self._points * self._numbers:
            return _corners(numbers[:4]), self._key_points(numbers[4:]), None
        if count in (_BOX, _SCORED_BOX):
            return _corners(numbers[:4]), (), numbers[4] if count == _SCORED_BOX else None
        if count >= _SMALLEST_POLYGON and count % 2:
            xs, ys = numbers[::2], numbers[1::2]
            return (min(xs), min(ys), max(xs), max(ys)), (), None
        raise ValueError(f"{count} numbers are no box, polygon or, by kpt_shape, key points")

    def _key_points(self, numbers: Sequence[float]) -> tuple[tuple[float, float], ...]:
        least = _LABELLED if self._config.occluded_points else _VISIBLE
        points = [numbers[start : start + self._numbers] for start in range(0, len(numbers), self._numbers)]
        return tuple((point[0], point[1]) for point in points if len(point) < 3 or point[2] >= least)


def _corners(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    """Centre, width and height to xyxy."""
    x, y, width, height = numbers
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
