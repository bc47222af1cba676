"""The readers, row by row of the table in docs/formats.md, with what each loses and why."""

from functools import partial
from typing import Final

from support.readers import of_coco, of_folders, of_tables
from support.readers.reader import Reader

_POLYGONS: Final = {"segmentation": "polygons"}

_PARTS: Final = "each part becomes an object of its own"
_APART: Final = dict.fromkeys(("islands in holes", "several parts", "combs", "noise"), _PARTS)
_THIN: Final = "outlines are resampled to 1000 points and coordinates cut off: up to 2 % of a mask's pixels go"
_YOLO: Final = dict.fromkeys(("blobs", "holes", "whole image", "borders", "no masks"), _THIN)
_SHAPELY: Final = "keeps the outer rings of what Shapely makes of a polygon: holes are filled, all or in part"
_SAHI: Final = dict.fromkeys(("holes", "islands in holes", "whole image", "borders", "noise"), _SHAPELY)
_SMALLEST: Final = "a pixel has one mask: the smallest"
_OVERLAPPING: Final = (
    *("blobs", "holes", "several parts", "touching corners", "one row", "whole image", "borders", "combs"),
    *("noise", "sizes"),
)
_COVERED: Final = dict.fromkeys(_OVERLAPPING, _SMALLEST)
_MIXED: Final = "refuses a tar with JPEGs and PNGs in it"
_FLAT: Final = "looks into no sub-folder"
_SMALL: Final = "passes over pictures with a side under 10 pixels"
_PIL: Final = "opens pictures without turning them by EXIF; `coco-images` with `images: oriented` is for it"

READERS: Final = [
    Reader("pycocotools", "pycocotools", "coco", of_coco.pycocotools),
    Reader("pycocotools", "pycocotools", "coco", of_coco.pycocotools, {"segmentation": "counts"}),
    Reader("pycocotools", "pycocotools", "coco", of_coco.pycocotools, _POLYGONS),
    Reader("faster-coco-eval", "faster-coco-eval", "coco", of_coco.faster_coco_eval),
    Reader("faster-coco-eval", "faster-coco-eval", "coco", of_coco.faster_coco_eval, _POLYGONS),
    Reader("supervision, `from_coco`", "supervision", "coco", of_coco.supervision),
    Reader("torchvision, `CocoDetection`", "torchvision", "coco", of_coco.torchvision, losses={"EXIF 1 to 8": _PIL}),
    Reader("torchvision, `CocoDetection`", "torchvision", "coco-images", of_coco.torchvision, {"images": "oriented"}),
    Reader("FiftyOne, `COCODetectionDatasetImporter`", "fiftyone", "coco", of_coco.fiftyone),
    Reader("mmdet, `poly2mask=True`", "mmdet", "coco", of_coco.mmdet),
    Reader("mmdet, `poly2mask=False`", "mmdet", "mmdet", partial(of_coco.mmdet, poly2mask=False)),
    Reader("transformers, `DetrImageProcessor`", "transformers", "transformers", of_coco.transformers_detr),
    Reader("Datumaro, `coco_instances`", "datumaro", "datumaro", of_coco.datumaro),
    Reader(
        "transformers, `DetrImageProcessor`",
        "transformers",
        "coco-panoptic",
        of_coco.transformers_panoptic,
        losses=_COVERED,
    ),
    Reader("sahi, `Coco`", "sahi", "coco", of_coco.sahi, _POLYGONS, losses=_SAHI),
    Reader(
        "label-studio-sdk, `convert_coco_to_ls`",
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
    Reader("datasets, `load_dataset(OUTPUT/hf)`", "datasets", "hf", of_tables.datasets_hf),
    Reader(
        "datasets, `webdataset`",
        "datasets",
        "webdataset",
        of_tables.datasets_webdataset,
        losses={"equal stems": _MIXED},
    ),
    Reader("DuckDB", "duckdb", "", of_tables.duckdb),
    Reader("supervision, `sam_batch.read`", "supervision", "", of_tables.detections),
]
