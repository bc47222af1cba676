"""Sources of prompts, to be read: files in a folder, and what comes out of them."""

import io
import json
from pathlib import Path
from typing import Any

from sam_batch.config_prompts import PromptsConfig
from sam_batch.prompts.formats import open_reader
from sam_batch.prompts.items import Item, Mistake, SourceObject
from sam_batch.records import Prompt

CATEGORIES = [{"id": 0, "name": "cat", "supercategory": "animal"}, {"id": 7, "name": "cup"}]


def settings(**changes: Any) -> PromptsConfig:
    return PromptsConfig(**{"uri": "somewhere", **changes})


def read(name: str, content: bytes | str, **changes: Any) -> list[Item]:
    """All that one file says, in the format that its name tells."""
    data = content.encode() if isinstance(content, str) else content
    format_ = {"json": "coco", "txt": "yolo", "yaml": "yolo"}.get(name.rpartition(".")[2], "table")
    return list(open_reader(format_, settings(**changes)).read(name, io.BufferedReader(io.BytesIO(data))))


def prompts(items: list[Item]) -> list[Prompt]:
    return [item.prompt for item in items if isinstance(item, SourceObject)]


def mistakes(items: list[Item]) -> list[str]:
    return [f"{item.place}: {item.reason}" for item in items if isinstance(item, Mistake)]


def annotation(number: int, image_id: int, bbox: Any, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": 7, "bbox": bbox, "iscrowd": 0, **more}


def dataset(count: int = 3) -> dict[str, Any]:
    """Two boxes an image, of as many images of 64 x 48, as `support.jobs` draws them."""
    images = [{"id": 100 + i, "file_name": f"{i:03}.jpg", "width": 64, "height": 48} for i in range(count)]
    boxes = [annotation(10 * i + j, 100 + i, [5 + 20 * (j - 1), 8, 16, 20]) for i in range(count) for j in (1, 2)]
    return {"annotations": boxes, "images": images, "categories": CATEGORIES}


def write(path: Path, value: Any) -> dict[str, str]:
    """A JSON file, and the section `prompts` that names it."""
    path.write_text(json.dumps(value))
    return {"uri": str(path)}
