"""Programs that read COCO files."""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from support.readers.reader import Found, Made


def annotations(made: Made) -> Path:
    """The one COCO file that was written."""
    (file,) = made.output.glob("*/annotations.json")
    return file


def pictures(made: Made) -> Path:
    """Beside the annotations, where they were asked for."""
    beside = annotations(made).parent / "images"
    return beside if beside.exists() else made.photos


def _key(image: dict[str, Any]) -> str:
    return str(image.get("key", image["file_name"]))


def _by_api(coco: Any) -> Iterator[Found]:
    for image in coco.loadImgs(coco.getImgIds()):
        masks = [coco.annToMask(one).astype(bool) for one in coco.loadAnns(coco.getAnnIds([image["id"]]))]
        yield Found(image["file_name"], masks)


def pycocotools(made: Made) -> Iterator[Found]:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        yield from _by_api(COCO(annotations(made)))


def faster_coco_eval(made: Made) -> Iterator[Found]:
    from faster_coco_eval import COCO

    yield from _by_api(COCO(str(annotations(made))))


def supervision(made: Made) -> Iterator[Found]:
    import supervision as sv

    data = sv.DetectionDataset.from_coco(str(made.photos), str(annotations(made)), force_masks=True)
    for path, image_HW3, detections in data:
        masks = [] if detections.mask is None else list(detections.mask)
        yield Found(Path(path).relative_to(made.photos).as_posix(), masks, cv2.cvtColor(image_HW3, cv2.COLOR_BGR2RGB))


def torchvision(made: Made) -> Iterator[Found]:
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    with contextlib.redirect_stdout(io.StringIO()):
        plain = CocoDetection(pictures(made), str(annotations(made)))
    data = wrap_dataset_for_transforms_v2(plain, target_keys=("image_id", "masks"))
    for place in range(len(data)):
        image, target = data[place]
        masks = [mask.numpy().astype(bool) for mask in target.get("masks", ())]
        yield Found(_key(plain.coco.loadImgs(plain.ids[place])[0]), masks, np.asarray(image.convert("RGB")))


def fiftyone(made: Made) -> Iterator[Found]:
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    importer = COCODetectionDatasetImporter(
        data_path=str(made.photos), labels_path=str(annotations(made)), label_types="segmentations"
    )
    with importer:
        for path, _, label in importer:
            picture_HW3 = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
            masks = [_placed(one, picture_HW3.shape[:2]) for one in (label.detections if label else ())]
            yield Found(Path(path).relative_to(made.photos).as_posix(), masks, picture_HW3)


def _placed(detection: Any, size: tuple[int, int]) -> np.ndarray:
    """FiftyOne keeps a mask of the box, and the box in shares of the picture."""
    mask_HW = np.zeros(size, bool)
    inside_hw = np.asarray(detection.mask, bool)
    left, top = round(detection.bounding_box[0] * size[1]), round(detection.bounding_box[1] * size[0])
    mask_HW[top : top + inside_hw.shape[0], left : left + inside_hw.shape[1]] = inside_hw
    return mask_HW


def datumaro(made: Made) -> Iterator[Found]:
    import datumaro as dm

    for item in dm.Dataset.import_from(str(made.output / "datumaro"), "coco_instances"):
        masks = [np.asarray(one.image, bool) for one in item.annotations if isinstance(one, dm.Mask)]
        picture = item.media.data if item.media else None
        yield Found(item.id, masks, None if picture is None else picture[..., 2::-1].astype(np.uint8))


class _NotCompiled(ModuleType):
    """mmcv's operations, which no package brings along compiled, and which loading data does not call."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: pytest.fail(f"mmcv's {name} is called")


def mmdet(made: Made, poly2mask: bool = True) -> Iterator[Found]:
    sys.modules.setdefault("mmcv._ext", _NotCompiled("mmcv._ext"))
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations

    load = {"type": LoadAnnotations, "with_bbox": True, "with_mask": True, "poly2mask": poly2mask}
    data = CocoDataset(
        ann_file=str(annotations(made)),
        data_prefix={"img": str(made.photos)},
        metainfo={"classes": ("object",)},
        pipeline=[{"type": "LoadImageFromFile"}, load],
        test_mode=True,
    )
    for place in range(len(data)):
        image = data[place]
        name = Path(image["img_path"]).relative_to(made.photos).as_posix()
        masks = [mask.astype(bool) for mask in image["gt_masks"].to_ndarray()]
        kept = [mask for mask, ignored in zip(masks, image["gt_ignore_flags"], strict=True) if not ignored]
        yield Found(name, kept, image["img"][..., ::-1])


def transformers_detr(made: Made) -> Iterator[Found]:
    from transformers import DetrImageProcessor

    processor = DetrImageProcessor(do_resize=False, do_normalize=False, do_rescale=False, do_pad=False)
    data = json.loads(annotations(made).read_text(encoding="utf-8"))
    for image in data["images"]:
        picture = Image.open(pictures(made) / image["file_name"]).convert("RGB")
        target = {
            "image_id": image["id"],
            "annotations": [one for one in data["annotations"] if one["image_id"] == image["id"]],
        }
        inputs = processor(picture, annotations=target, return_segmentation_masks=True, return_tensors="pt")
        masks = list(inputs["labels"][0]["masks"].numpy().astype(bool))
        yield Found(_key(image), masks, np.asarray(picture))


def transformers_panoptic(made: Made) -> Iterator[Found]:
    from transformers import DetrImageProcessor

    processor = DetrImageProcessor(
        format="coco_panoptic", do_resize=False, do_normalize=False, do_rescale=False, do_pad=False
    )
    folder = made.output / "coco-panoptic"
    data = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    for image, target in zip(data["images"], data["annotations"], strict=True):
        pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
        inputs = processor(pixels, annotations=target, masks_path=folder / "panoptic", return_tensors="pt")
        yield Found(image["file_name"], list(inputs["labels"][0]["masks"].numpy().astype(bool)))


def sahi(made: Made) -> Iterator[Found]:
    """Polygons, drawn as COCO draws them."""
    from sahi.utils.coco import Coco

    data = Coco.from_coco_dict_or_path(str(annotations(made)), image_dir=str(made.photos))
    for image in data.images:
        masks = [_drawn(one.segmentation, image.height, image.width) for one in image.annotations if one.segmentation]
        yield Found(image.file_name, masks)


def _drawn(rings: list[list[float]], height: int, width: int) -> np.ndarray:
    runs = coco_mask.merge(coco_mask.frPyObjects(rings, height, width))
    return coco_mask.decode(runs).astype(bool)


def label_studio_converter(made: Made) -> Iterator[Found]:
    """Polygons, in percent of the picture; drawn as COCO draws them."""
    from label_studio_sdk.converter.imports.coco import convert_coco_to_ls

    tasks = made.output / "tasks.json"
    with contextlib.redirect_stdout(io.StringIO()):
        convert_coco_to_ls(str(annotations(made)), str(tasks), image_root_url="/", out_type="predictions")
    for task in json.loads(tasks.read_text(encoding="utf-8")):
        masks = []
        for region in task["predictions"][0]["result"]:
            if region["type"] != "polygonlabels":
                continue
            height, width = region["original_height"], region["original_width"]
            ring = np.array(region["value"]["points"]) / 100 * (width, height)
            masks.append(_drawn([ring.ravel().tolist()], height, width))
        yield Found(task["data"]["image"].lstrip("/"), masks)
