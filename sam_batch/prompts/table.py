"""Tables as prompts: CSV, JSON lines and Parquet, a row an object, by the names of their columns (docs/prompts.md).

What is not known here by its name is an attribute of the object. In CSV, lists are written as JSON.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from sam_batch.config_prompts import PromptsConfig
from sam_batch.data.storage import shown
from sam_batch.errors import ConfigError
from sam_batch.prompts.items import Item, Mistake, Place, SourceImage, SourceObject
from sam_batch.prompts.segmentation import to_counts
from sam_batch.records import Prompt, PromptFailure
from sam_batch.records import PromptFailureKind as Kind

_Row: TypeAlias = Mapping[str, Any]
_Box: TypeAlias = tuple[float, float, float, float]

IMAGE: Final = ("image", "file_name", "uri", "key")  # the first of these that there is names the image
_BOXES: Final[dict[tuple[str, ...], str]] = {
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x0", "y0", "x1", "y1"): "xyxy",
    ("x", "y", "w", "h"): "xywh",
    ("cx", "cy", "w", "h"): "cxcywh",
}
_KNOWN: Final = {
    "id",
    "category",
    "category_id",
    "score",
    "width",
    "height",
    "box",
    "points",
    "labels",
    "mask",
    "logits",
}
_CORNERS: Final[dict[str, Callable[..., _Box]]] = {
    "xyxy": lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    "xywh": lambda x, y, width, height: (x, y, x + width, y + height),
    "cxcywh": lambda x, y, width, height: (x - width / 2, y - height / 2, x + width / 2, y + height / 2),
}


class TableReader:
    """Reads one table after the other.

    Args:
        config: Which columns are taken, and what a column `box` means.
    """

    def __init__(self, config: PromptsConfig) -> None:
        self._config = config
        self._tables = 0

    def read(self, name: str, file: io.BufferedReader) -> Iterator[Item]:
        """All that a table says.

        Raises:
            ConfigError: It cannot be read, or has no column that names the image or gives a prompt.
        """
        self._tables += 1
        rows = next(rows for extension, rows in _ROWS.items() if name.removesuffix(".gz").lower().endswith(extension))
        what = "row" if rows is _parquet else "line"
        try:
            for count, (number, row) in enumerate(rows(file), 1):
                place = Place(name, what, number)
                yield from [Mistake(place, row)] if isinstance(row, str) else self._items(place, count, row)
        except (UnicodeError, ValueError, csv.Error, pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"prompts.uri: {shown(name)}: cannot be read as a table: {reason[:200]}") from error

    def _items(self, place: Place, count: int, row: _Row) -> Iterator[Item]:
        try:
            image = next((str(row[name]) for name in IMAGE if not _is_nothing(row.get(name))), None)
            if image is None:
                yield Mistake(place, f"it names no image; a column should be called {', '.join(IMAGE)}")
                return
            width, height = _whole(row.get("width")), _whole(row.get("height"))
            prompt, has_mask = self._prompt(row, self._id(place, count, row.get("id")))
            yield SourceImage(image, image, width=width, height=height, normalised=self._config.normalised)
            yield SourceObject(place, image, prompt, _number(row.get("score")), has_mask)
        except (TypeError, ValueError, KeyError) as error:
            yield Mistake(place, str(error))

    def _prompt(self, row: _Row, prompt_id: str) -> tuple[Prompt, bool]:
        use, fault = self._config.use, None
        names, box = self._box(row)
        points, labels = _points(row)
        mask, logits = row.get("mask"), row.get("logits")
        has_mask = mask is not None or logits is not None
        parts: dict[str, Any] = {}
        if "box" in use:
            parts["box"] = box
        if "points" in use:
            parts |= {"points": points, "labels": labels}
        if "mask" in use and has_mask:
            parts |= {"mask": None if mask is None else to_counts(_listed(mask)), "logits": logits}
        if not any(value is not None and value != () for value in parts.values()):
            fault = PromptFailure(Kind.NOTHING_GIVEN, "it has none of the parts that prompts.use names")
        prompt = Prompt(
            **parts,
            prompt_id=prompt_id,
            category_id=_whole(row.get("category_id")),
            category=None if _is_nothing(row.get("category")) else str(row["category"]),
            attributes=_attributes(row, {*_KNOWN, *IMAGE, *names}),
            fault=fault,
        )
        return prompt, has_mask

    def _id(self, place: Place, count: int, given: Any) -> str:
        """The row's own, or its number; with the table's name from the second table on."""
        if not _is_nothing(given):
            return str(int(given) if isinstance(given, float) and given.is_integer() else given)
        return str(count) if self._tables == 1 else f"{place.file.rpartition('/')[2]}:{count}"

    def _box(self, row: _Row) -> tuple[Sequence[str], _Box | None]:
        """The columns of the box, and the box as xyxy."""
        if row.get("box") is not None:
            if self._config.box_format is None:
                raise ConfigError(
                    "prompts.box_format: say what the numbers of the column box are: xyxy, xywh or cxcywh"
                )
            return ("box",), _CORNERS[self._config.box_format](*map(float, _listed(row["box"])))
        for names, form in _BOXES.items():
            if all(row.get(name) is not None for name in names):
                return names, _CORNERS[form](*(float(row[name]) for name in names))
        return (), None


def _points(row: _Row) -> tuple[tuple[tuple[float, float], ...], tuple[int, ...]]:
    """Points and their labels; foreground where nothing is said. A point may have its label as a third number."""
    given = _listed(row.get("points")) or []
    labels = _listed(row.get("labels"))
    if labels is None:
        labels = [point[2] if len(point) > 2 else 1 for point in given]
    if len(labels) != len(given):
        raise ValueError(f"{len(given)} points have {len(labels)} labels")
    return tuple((float(point[0]), float(point[1])) for point in given), tuple(int(label) for label in labels)


def _attributes(row: _Row, known: set[str]) -> str:
    rest = {name: _finite(value) for name, value in row.items() if name not in known and not _is_nothing(value)}
    return json.dumps(rest, ensure_ascii=False, separators=(",", ":"), default=str) if rest else ""


def _finite(value: Any) -> Any:
    """The value, with null for the numbers that JSON has not."""
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_nothing(value: Any) -> bool:
    """Whether a cell is empty; pandas writes NaN for that."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _listed(value: Any) -> Any:
    """A list or object, which CSV has as JSON."""
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


def _whole(value: Any) -> int | None:
    if _is_nothing(value):
        return None
    number = float(value)
    if not number.is_integer():
        raise ValueError(f"{value!r} should be a whole number")
    return int(number)


def _number(value: Any) -> float | None:
    return None if _is_nothing(value) else float(value)


def _csv(file: io.BufferedReader) -> Iterator[tuple[int, _Row | str]]:
    lines = _decoded(file)
    header = next(lines, "")
    delimiter = max(",;\t", key=header.count)
    names = [name.strip() for name in next(csv.reader([header.strip()], delimiter=delimiter), [])]
    if not set(names) & set(IMAGE):
        raise ValueError(f"no column is called {', '.join(IMAGE)}; its first line has {', '.join(names)}")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    for cells in reader:
        if len(cells) == len(names):
            yield reader.line_num + 1, {name: cell or None for name, cell in zip(names, cells, strict=True)}
        elif cells:
            yield reader.line_num + 1, f"it has {len(cells)} cells, and not {len(names)}"


def _decoded(file: io.BufferedReader) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number} is no UTF-8: {error.reason}; save it as UTF-8") from error


def _jsonl(file: io.BufferedReader) -> Iterator[tuple[int, _Row | str]]:
    for number, line in enumerate(_decoded(file), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield number, f"it is no JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "it is no JSON object"


def _parquet(file: io.BufferedReader) -> Iterator[tuple[int, _Row | str]]:
    table = pq.ParquetFile(file, pre_buffer=False)  # else all row groups are read before the first
    if not set(table.schema_arrow.names) & set(IMAGE):
        raise ValueError(f"no column is called {', '.join(IMAGE)}; it has {', '.join(table.schema_arrow.names)}")
    number = 0
    for batch in table.iter_batches(1 << 12):
        for row in batch.to_pylist():
            number += 1
            yield number, row


_ROWS: Final = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
