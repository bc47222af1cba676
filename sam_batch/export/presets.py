"""COCO files as a program's own importer looks for them: folders and names (`output.layout`), and how masks are spelt.

What is in them, `sam_batch.export.coco` says. A preset is one file of any size, since no importer takes several.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco import Beside, CocoExport
from sam_batch.export.coco_files import open_files
from sam_batch.export.pictures import Pictures
from sam_batch.output import layout
from sam_batch.output.plan import Plan

SEGMENTATION: Final = {
    "cvat": "rle",
    "datumaro": "rle",
    "detectron2": "polygons",  # its default refuses run lengths
    "mmdet": "polygons",  # half of its configurations pass over run lengths without a word
    "transformers": "polygons",  # its processors read no compressed run lengths
}
"""How each has masks spelt, as `output.coco.segmentation`."""


@contextmanager
def _open(name: str, storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator[CocoExport]:
    """Start a preset's file; see `formats.Export`. Pictures are turned, since those who look for them do not."""
    place = layout.PRESETS[name]
    beside = Beside(Pictures(storage, "oriented", plan), place.images) if place.images else None
    with open_files(storage, place.file.removesuffix(".json"), None) as files:
        yield CocoExport(files, config, plan, SEGMENTATION[name], beside)


open_cvat = partial(_open, "cvat")
open_datumaro = partial(_open, "datumaro")
open_detectron2 = partial(_open, "detectron2")
open_mmdet = partial(_open, "mmdet")
open_transformers = partial(_open, "transformers")
