"""COCO files as prompts: data sets, and lists of results as detectors write them. Streamed: memory holds one object.

Boxes are xywh in pixels. Key points are points: labelled and visible ones foreground. Segmentations are masks, polygons
and run lengths alike. Of an image, `file_name` counts; a result's `image_id` may also be a file's name or its stem.
"""

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sam_batch.config_prompts import PromptsConfig
from sam_batch.data.storage import shown
from sam_batch.errors import ConfigError
from sam_batch.prompts.items import Category, Item, Mistake, Place, SourceImage, SourceObject
from sam_batch.prompts.json_blocks import json_blocks, json_values
from sam_batch.prompts.segmentation import to_counts
from sam_batch.records import Prompt, PromptFailure
from sam_batch.records import PromptFailureKind as Kind

_OWN: Final = {"id", "image_id", "category_id", "bbox", "segmentation", "keypoints", "num_keypoints", "iscrowd", "area"}
_VISIBLE: Final = 2
_LABELLED: Final = 1


class CocoReader:
    """Reads one file after the other.

    Args:
        config: Which parts of an object are taken.
    """

    def __init__(self, config: PromptsConfig) -> None:
        self._config = config
        self._sizes: dict[str, tuple[int, int]] = {}  # of images, where masks need them

    def read(self, name: str, file: io.BufferedReader) -> Iterator[Item]:
        """All that a data set or a list of results says.

        Raises:
            ConfigError: It is no JSON, or neither of the two.
        """
        first = file.peek(64)[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if first not in (b"[", b"{"):
            raise ConfigError(f"prompts.uri: {shown(name)}: is no COCO file, which begins with {{ or [")
        return self._results(name, file) if first == b"[" else self._dataset(name, file)

    def read_names(self, name: str, file: io.BufferedReader) -> Iterator[Item]:
        """The images and categories of a data set, without its objects."""
        for prefix, value in _values(name, file, ["images.item", "categories.item"]):
            yield self._image(name, value) if prefix == "images.item" else _category(name, value)

    def _dataset(self, name: str, file: io.BufferedReader) -> Iterator[Item]:
        number = 0
        for prefix, value in _values(name, file, ["images.item", "categories.item", "annotations.item"]):
            if prefix == "images.item":
                yield self._image(name, value)
            elif prefix == "categories.item":
                yield _category(name, value)
            else:
                number += 1
                yield self._object(Place(name, "annotation", number), value)

    def _results(self, name: str, file: io.BufferedReader) -> Iterator[Item]:
        for number, (_, value) in enumerate(_values(name, file, ["item"]), 1):
            yield self._object(Place(name, "result", number), value)

    def _image(self, name: str, value: Any) -> Item:
        try:
            image_id = value["id"]
            number = image_id if isinstance(image_id, int) else None
            width, height = (value.get(side) or None for side in ("width", "height"))
            if width and height and "mask" in self._config.use:
                self._sizes[str(image_id)] = (height, width)
            return SourceImage(str(image_id), str(value["file_name"]), number, width, height)
        except (KeyError, TypeError, AttributeError):
            raise ConfigError(f"prompts.uri: {shown(name)}: an image lacks id or file_name: {_short(value)}") from None

    def _object(self, place: Place, value: Any) -> Item:
        if not isinstance(value, Mapping) or value.get("image_id") is None:
            return Mistake(place, f"it has no image_id: {_short(value)}")
        object_id, category_id, image = value.get("id"), value.get("category_id"), str(value["image_id"])
        if category_id is not None and not isinstance(category_id, int):
            return Mistake(place, f"its category_id is no whole number: {_short(category_id)}")
        is_crowd = bool(value.get("iscrowd"))
        try:
            parts = {} if is_crowd else self._parts(value, image)
        except (KeyError, TypeError, ValueError) as error:
            return Mistake(place, f"its bbox, keypoints or segmentation is not as it should be: {error}")
        fault = None if parts else PromptFailure(Kind.NOTHING_GIVEN, "it has none of the parts that prompts.use names")
        prompt = Prompt(
            **parts,
            prompt_id=None if object_id is None else str(object_id),
            category_id=category_id,
            attributes=_json({key: other for key, other in value.items() if key not in _OWN}),
            fault=PromptFailure(Kind.CROWD, "iscrowd: it is of several objects") if is_crowd else fault,
        )
        return SourceObject(place, image, prompt, value.get("score"), bool(value.get("segmentation")))

    def _parts(self, value: Mapping[str, Any], image: str) -> dict[str, Any]:
        """Those that are there and taken."""
        use, parts = self._config.use, dict[str, Any]()
        if "box" in use and value.get("bbox"):
            x, y, width, height = map(_number, value["bbox"])
            parts["box"] = (x, y, x + width, y + height)
        points = self._points(value.get("keypoints") or ()) if "points" in use else ()
        if points:
            parts |= {"points": points, "labels": (1,) * len(points)}
        if "mask" in use and value.get("segmentation"):
            parts["mask"] = to_counts(value["segmentation"], self._sizes.get(image))
        return parts

    def _points(self, keypoints: Sequence[float]) -> tuple[tuple[float, float], ...]:
        """Key points that are seen, or at least labelled."""
        if len(keypoints) % 3:
            raise ValueError(f"keypoints has {len(keypoints)} numbers, and not three a point")
        least = _LABELLED if self._config.occluded_points else _VISIBLE
        triples = zip(*[iter(keypoints)] * 3, strict=True)
        return tuple((_number(x), _number(y)) for x, y, seen in triples if (seen or 0) >= least)


def _values(name: str, file: io.BufferedReader, prefixes: list[str]) -> Iterator[tuple[str, Any]]:
    return json_values(json_blocks(file), prefixes, f"prompts.uri: {shown(name)}")


def _category(name: str, value: Any) -> Item:
    try:
        rest = {key: other for key, other in value.items() if key not in ("id", "name")}
        return Category(int(value["id"]), str(value["name"]), _json(rest))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError(f"prompts.uri: {shown(name)}: a category lacks id or name: {_short(value)}") from None


def _number(value: Any) -> float:
    """A coordinate; null, which `json_blocks` makes of NaN, is NaN."""
    return math.nan if value is None else float(value)


def _json(rest: Mapping[str, Any]) -> str:
    return json.dumps(rest, ensure_ascii=False, separators=(",", ":")) if rest else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
