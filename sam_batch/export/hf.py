"""Annotation parts to a folder that Hugging Face's `datasets` opens with pictures and masks: Parquet, and a card.

`datasets.load_dataset("OUTPUT/hf")` gives rows with the photograph, a picture of each mask, and what is known of them;
so does the Hub, where the folder is uploaded as it is. A file a part; memory holds 16 images at a time.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any, Final

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco_files import scratch, scratch_folder
from sam_batch.export.numbers import Numbers, decoded_rows, masks_with_prompts
from sam_batch.export.pictures import Pictures, some_at_once
from sam_batch.masks import rle
from sam_batch.output.card import told_settings
from sam_batch.output.layout import HF_HEAD
from sam_batch.output.plan import Plan
from sam_batch.wording import counted

_CARD: Final = "hf/README.md"
_BITS: Final = (cv2.IMWRITE_PNG_BILEVEL, 1)
_PICTURE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_OBJECT: Final = pa.struct(
    [
        ("id", pa.int64()),
        ("category", pa.int64()),
        ("bbox", pa.list_(pa.float64())),
        ("area", pa.int64()),
        ("predicted_iou", pa.float64()),
        ("stability_score", pa.float64()),
    ]
)
_SCHEMA: Final = pa.schema(
    [
        ("image", _PICTURE),
        ("key", pa.string()),
        ("image_id", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("masks", pa.list_(_PICTURE)),
        ("objects", pa.list_(_OBJECT)),
    ]
)
_TEXT: Final = Template("""configs:
- config_name: default
  data_files: data/train-*.parquet
task_categories:
- mask-generation
- image-segmentation
${license}---

# $description

$count. Made by `sam-batch export OUTPUT --to hf`.

```python
from datasets import load_dataset

rows = load_dataset("FOLDER", split="train")  # this folder, or the repository that it was uploaded to
row = rows[0]
row["image"], row["masks"]  # pictures of Pillow; a mask is as large as its image, and not black where it is
row["objects"]  # for each mask its id, category, box, area and scores
```

Boxes are `x, y, width, height` in pixels of the image as it is shown, turned by its EXIF orientation. Masks may
overlap.

## Made with

$settings
""")


@contextmanager
def open_hf(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["HfExport"]:
    """Start the folder of an output; see `formats.Export`."""
    with scratch_folder() as spool:
        yield HfExport(storage, config, plan, spool)


class HfExport:
    """Images with and without masks, but failed ones; the card comes last.

    Args:
        storage: Where the files go.
        config: How pictures are taken, and what is said of the data set.
        plan: Of the output.
        spool: A folder for a file that is not finished.
    """

    def __init__(self, storage: Storage, config: OutputConfig, plan: Plan | None, spool: Path) -> None:
        self._storage, self._about, self._spool = storage, config.dataset, spool
        self._fingerprint = plan.fingerprint if plan else {}
        self._pictures = Pictures(storage, config.hf.images, plan)
        self._numbers = Numbers(plan, config.dataset.category)
        self._classes = {category["id"]: place for place, category in enumerate(self._numbers.categories)}
        self._schema = _SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": self._features()}})})
        self._files = self._images = self._masks = 0

    def add(self, part: pa.Table) -> None:
        """Write a part's file.

        Raises:
            StorageError: A file cannot be read or written.
            JobError: A picture is gone, or another than was labelled.
        """
        rows = decoded_rows(part)
        if not rows:
            return
        path = self._spool / "part.parquet"
        with scratch(), pq.ParquetWriter(path, self._schema) as writer:
            for some in some_at_once(self._row, rows):
                writer.write_table(pa.Table.from_pylist(some, self._schema))
        self._storage.put_file(f"hf/data/train-{self._files:05d}.parquet", path)
        self._files += 1
        self._images += len(rows)
        self._masks += sum(len(row["masks"]) for row in rows)

    def finish(self) -> list[str]:
        """Write the card."""
        about = self._about
        licensed = "" if about.license is None else f"license: {json.dumps(about.license)}\n"
        text = _TEXT.substitute(
            license=licensed,
            description=about.description,
            count=f"{counted(self._images, 'image')}, {counted(self._masks, 'mask')}",
            settings="\n".join(told_settings(self._fingerprint)),
        )
        self._storage.replace(_CARD, (HF_HEAD + text).encode())
        return [_CARD]

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        data, is_new = self._pictures.load(row)
        name = row["key"] + ".png" * is_new
        masks = masks_with_prompts(row)
        return {
            "image": {"bytes": data, "path": name},
            **{field: row[field] for field in ("key", "width", "height")},
            "image_id": self._numbers.image(row["image_id"]),
            "masks": [{"bytes": _png(mask, row), "path": f"{mask['mask_id']}.png"} for mask, _ in masks],
            "objects": [
                {
                    **mask,
                    "id": self._numbers.annotation(row["image_id"], mask["mask_id"], prompt),
                    "category": self._classes[self._numbers.category(prompt)],
                }
                for mask, prompt in masks
            ],
        }

    def _features(self) -> dict[str, Any]:
        """The columns in the words of `datasets`."""

        def value(dtype: str) -> dict[str, Any]:
            return {"dtype": dtype, "_type": "Value"}

        names = [category["name"] for category in self._numbers.categories]
        scores = {name: value("float64") for name in ("predicted_iou", "stability_score")}
        an_object = {
            "id": value("int64"),
            "category": {"names": names, "_type": "ClassLabel"},
            "bbox": {"feature": value("float64"), "_type": "List"},
            "area": value("int64"),
            **scores,
        }
        return {
            "image": {"_type": "Image"},
            "key": value("string"),
            "image_id": value("int64"),
            "width": value("int32"),
            "height": value("int32"),
            "masks": {"feature": {"_type": "Image"}, "_type": "List"},
            "objects": {"feature": an_object, "_type": "List"},
        }


def _png(mask: dict[str, Any], row: dict[str, Any]) -> bytes:
    pixels_HW = rle.decode(mask["counts"], row["height"], row["width"]).view("uint8") * 255
    return bytes(cv2.imencode(".png", pixels_HW, _BITS)[1])
