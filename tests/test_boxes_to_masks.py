"""The configuration that turns a detection data set into a segmentation data set, with the demo model."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from rich.console import Console

from sam_batch import configfile
from sam_batch.job.run import run_job

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "boxes_to_masks.yaml"
BOXES = 200


def detections():
    """Boxes of all sizes over the example photographs, drawn by seed, under ids with gaps."""
    draw = np.random.default_rng(0)
    paths = sorted((ROOT / "examples").glob("*.jpg"))
    sizes = {}
    for path in paths:
        with Image.open(path) as image:
            sizes[path.name] = image.size
    images: list[dict[str, Any]] = [
        {"id": 7 * number, "file_name": name, "width": width, "height": height}
        for number, (name, (width, height)) in enumerate(sizes.items())
    ]
    annotations = []
    for number in range(BOXES):
        image = images[number % len(images)]
        x, y = draw.integers(0, image["width"] - 20), draw.integers(0, image["height"] - 20)
        width, height = draw.integers(10, image["width"] - x), draw.integers(10, image["height"] - y)
        box = [int(side) for side in (x, y, width, height)]
        annotations.append({"id": 3 * number, "image_id": image["id"], "category_id": number % 3, "bbox": box})
    categories = [{"id": number, "name": name} for number, name in enumerate(("cat", "cup", "rocket"))]
    return {"images": images, "annotations": annotations, "categories": categories}


def loaded(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    (folder / "boxes.json").write_text(json.dumps(detections()))
    inputs = [f"input.uri={ROOT / 'examples'}", f"prompts.uri={folder / 'boxes.json'}", "engine.precision=fp32"]
    config = configfile.load([CONFIG], [*inputs, f"output.uri={folder / 'out'}", "output.color_masks.enabled=false"])
    return (
        run_job(config, Console(quiet=True)),
        loaded(folder / "boxes.json"),
        loaded(folder / "out/coco/annotations.json"),
    )


def test_every_box_of_a_detection_file_ends_and_the_counts_add_up(made):
    summary, _, _ = made
    assert summary.prompts.total() == summary.planned_prompts == BOXES
    assert summary.prompts["failed"] == 0
    assert summary.prompts["ok"] > 0.9 * BOXES


def test_pycocotools_finds_each_mask_under_the_id_the_image_and_the_category_of_its_box(made):
    summary, given, found = made
    assert found.cats == given.cats
    assert {number: image["file_name"] for number, image in found.imgs.items()} == {
        number: image["file_name"] for number, image in given.imgs.items()
    }
    assert len(found.anns) == summary.prompts["ok"]
    for number, annotation in found.anns.items():
        box = given.anns[number]
        assert (annotation["image_id"], annotation["category_id"]) == (box["image_id"], box["category_id"])
        mask = found.annToMask(annotation)
        assert mask.sum() == annotation["area"] > 0


def test_most_masks_lie_in_their_boxes(made):
    _, given, found = made
    shares = []
    for number, annotation in found.anns.items():
        x, y, width, height = given.anns[number]["bbox"]
        mask = found.annToMask(annotation)
        shares.append(mask[y : y + height, x : x + width].sum() / mask.sum())
    assert np.median(shares) > 0.6  # drawn anywhere, most boxes hold no single object


def test_its_own_boxes_are_those_of_the_example_photographs():
    boxes = loaded(ROOT / configfile.load([CONFIG]).prompts.uris[0])
    for image in boxes.imgs.values():
        with Image.open(ROOT / "examples" / image["file_name"]) as photograph:
            assert photograph.size == (image["width"], image["height"])
