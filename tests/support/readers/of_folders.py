"""Programs that read a file an image."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import yaml

from support.readers.reader import Found, Made


def ultralytics(made: Made) -> Iterator[Found]:
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import polygons2masks
    from ultralytics.utils.patches import imread

    folder = made.output / "yolo"
    names = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))["names"]
    data = YOLODataset(
        img_path=str(folder / "images/train"), data={"names": names, "channels": 3}, task="segment", augment=False
    )
    for place in range(len(data)):
        labels = data.get_image_and_label(place)
        height, width = labels["ori_shape"]
        instances = labels["instances"]
        instances.denormalize(width, height)
        masks = polygons2masks((height, width), list(instances.segments), color=1).astype(bool)
        key = Path(labels["im_file"]).relative_to(folder / "images/train").with_suffix("").as_posix()
        yield Found(key, list(masks), cv2.cvtColor(imread(labels["im_file"]), cv2.COLOR_BGR2RGB))


def label_studio(made: Made) -> Iterator[Found]:
    from label_studio_sdk.converter.brush import decode_rle

    for path in sorted((made.output / "label-studio").glob("tasks-*.json")):
        for task in json.loads(path.read_text(encoding="utf-8")):
            masks = []
            for region in task["predictions"][0]["result"]:
                rgba = np.asarray(decode_rle(region["value"]["rle"]))
                masks.append(rgba.reshape(region["original_height"], region["original_width"], 4)[..., 3] > 0)
            yield Found(task["data"]["key"], masks)


def labelme(made: Made) -> Iterator[Found]:
    """Its files lie beside the pictures, as it looks for them."""
    from labelme import LabelFile, utils

    shutil.copytree(made.output / "labelme", made.photos, dirs_exist_ok=True)
    (made.photos / "export.json").unlink()
    for path in sorted(made.photos.rglob("*.json")):
        file = LabelFile(str(path))
        picture_HW3 = np.asarray(utils.img_data_to_pil(file.image_data).convert("RGB"))
        drawn = [utils.shapes_to_label(picture_HW3.shape, [shape], {"object": 1})[1] for shape in file.shapes]
        key = path.relative_to(made.photos).as_posix().removesuffix(".json")
        yield Found(key, [mask_HW > 0 for mask_HW in drawn], picture_HW3)


def supervision_yolo(made: Made) -> Iterator[Found]:
    import supervision as sv

    folder = made.output / "yolo"
    data = sv.DetectionDataset.from_yolo(
        str(folder / "images/train"), str(folder / "labels/train"), str(folder / "data.yaml"), force_masks=True
    )
    for path, image_HW3, detections in data:
        masks = [] if detections.mask is None else list(detections.mask)
        key = Path(path).relative_to(folder / "images/train").with_suffix("").as_posix()
        yield Found(key, masks, cv2.cvtColor(image_HW3, cv2.COLOR_BGR2RGB))
