"""The readers, row by row of the table in docs/formats.md, with what each loses and why."""

from functools import partial
from typing import Final

from support.readers import of_coco, of_folders, of_tables
from support.readers.reader import Reader

_POLYGONS: Final = {"segmentation": "polygons"}
_ORIENTED: Final = {"images": "oriented"}

_PARTS: Final = "each part becomes an object of its own"
_APART: Final = dict.fromkeys(("islands in holes", "several parts", "combs", "noise"), _PARTS)
_THIN: Final = "outlines are resampled to 1000 points and coordinates cut off: up to 2 % of a mask's pixels go"
_YOLO: Final = dict.fromkeys(("blobs", "holes", "whole image", "borders", "no masks"), _THIN)
_SHAPELY: Final = "keeps the outer rings of what Shapely makes of a polygon: holes are filled, all or in part"
_SAHI: Final = dict.fromkeys(("holes", "islands in holes", "whole image", "borders", "noise"), _SHAPELY)
_FLAT: Final = "looks into no sub-folder"
_SMALL: Final = "passes over pictures with a side under 10 pixels"
_PIL: Final = "opens pictures without turning them by EXIF; `images: oriented` is for it, see the next row"

READERS: Final = [
    Reader("pycocotools", "pycocotools", "coco", of_coco.pycocotools),
    Reader("pycocotools, `counts`", "pycocotools", "coco", of_coco.pycocotools, {"segmentation": "counts"}),
    Reader("pycocotools, `polygons`", "pycocotools", "coco", of_coco.pycocotools, _POLYGONS),
    Reader("faster-coco-eval", "faster-coco-eval", "coco", of_coco.faster_coco_eval),
    Reader("faster-coco-eval, `polygons`", "faster-coco-eval", "coco", of_coco.faster_coco_eval, _POLYGONS),
    Reader("supervision, `from_coco`", "supervision", "coco", of_coco.supervision),
    Reader("torchvision, `CocoDetection`", "torchvision", "coco", of_coco.torchvision, losses={"EXIF 1 to 8": _PIL}),
    Reader("torchvision, `images: oriented`", "torchvision", "coco", of_coco.torchvision, _ORIENTED),
    Reader("FiftyOne, `COCODetectionDatasetImporter`", "fiftyone", "coco", of_coco.fiftyone),
    Reader("mmdet, `CocoDataset`, `poly2mask=True`", "mmdet", "coco", of_coco.mmdet),
    Reader("mmdet, `poly2mask=False`, `polygons`", "mmdet", "coco", partial(of_coco.mmdet, poly2mask=False), _POLYGONS),
    Reader(
        "transformers, `DetrImageProcessor`, `polygons`, `images: oriented`",
        "transformers",
        "coco",
        of_coco.transformers_detr,
        _POLYGONS | _ORIENTED,
    ),
    Reader("sahi, `Coco`, `polygons`", "sahi", "coco", of_coco.sahi, _POLYGONS, losses=_SAHI),
    Reader(
        "label-studio-sdk, `convert_coco_to_ls`, `polygons`",
        "label-studio-sdk",
        "coco",
        of_coco.label_studio_converter,
        _POLYGONS,
        losses=_APART,
    ),
    Reader("label-studio-sdk, `decode_rle`", "label-studio-sdk", "label-studio", of_folders.label_studio),
    Reader("LabelMe, `LabelFile`", "labelme", "labelme", of_folders.labelme),
    Reader(
        "Ultralytics, `YOLODataset`",
        "ultralytics",
        "yolo",
        of_folders.ultralytics,
        {"val": 0.0},
        losses=_APART | _YOLO | {"sizes": _SMALL},
    ),
    Reader(
        "supervision, `from_yolo`",
        "supervision",
        "yolo",
        of_folders.supervision_yolo,
        {"val": 0.0},
        losses=_APART | {"names": _FLAT, "equal stems": _FLAT},
    ),
    Reader("datasets, `load_dataset(OUTPUT)`", "datasets", "", of_tables.datasets),
    Reader("DuckDB", "duckdb", "", of_tables.duckdb),
]
