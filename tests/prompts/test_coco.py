import json
import math

import pytest
from pycocotools import mask as coco_mask
from support.prompts import CATEGORIES, annotation, dataset, mistakes, prompts, read

from sam_batch.errors import ConfigError
from sam_batch.prompts.items import Category, SourceImage
from sam_batch.records import PromptFailureKind as Kind


def objects(*annotations, **changes):
    image = {"id": 100, "file_name": "a.jpg", "width": 8, "height": 6}
    value = {"images": [image], "categories": CATEGORIES, "annotations": list(annotations)}
    return read("a.json", json.dumps(value), **changes)


def test_a_data_set_is_read_whatever_comes_first():
    given = dataset()
    forward, backward = (read("a.json", json.dumps(dict(items))) for items in (given.items(), reversed(given.items())))
    assert {repr(item) for item in forward} == {repr(item) for item in backward}
    assert SourceImage("100", "000.jpg", 100, 64, 48) in forward
    assert Category(0, "cat", '{"supercategory":"animal"}') in forward
    assert prompts(forward)[0].box == (5.0, 8.0, 21.0, 28.0)
    assert [prompt.prompt_id for prompt in prompts(forward)] == ["1", "2", "11", "12", "21", "22"]


def test_what_else_is_said_of_an_object_is_kept():
    (prompt,) = prompts(objects(annotation(1, 100, [0, 0, 2, 2], score=0.5, attributes={"occluded": True}, area=4)))
    assert json.loads(prompt.attributes) == {"score": 0.5, "attributes": {"occluded": True}}


def test_results_have_no_ids_and_name_images_by_number_or_by_file():
    items = read("a.json", json.dumps([{"image_id": 3, "bbox": [1, 2, 3, 4]}, {"image_id": "b", "bbox": [1, 2, 3, 4]}]))
    assert [(item.image, item.prompt.prompt_id) for item in items] == [("3", None), ("b", None)]


@pytest.mark.parametrize(("occluded", "points"), [(False, ((1.0, 2.0),)), (True, ((1.0, 2.0), (3.0, 4.0)))])
def test_key_points_that_are_seen_are_points(occluded, points):
    given = annotation(1, 100, [0, 0, 4, 4], keypoints=[1, 2, 2, 3, 4, 1, 0, 0, 0])
    (prompt,) = prompts(objects(given, occluded_points=occluded))
    assert (prompt.points, prompt.labels) == (points, (1,) * len(points))


def test_only_the_parts_that_are_named_are_taken():
    given = annotation(1, 100, [0, 0, 4, 4], keypoints=[1, 2, 2])
    (prompt,) = prompts(objects(given, use=["points"]))
    assert (prompt.box, prompt.points) == (None, ((1.0, 2.0),))


@pytest.mark.parametrize(
    "segmentation",
    [[[0, 0, 4, 0, 4, 6, 0, 6]], {"size": [6, 8], "counts": [0, 24, 24]}, {"size": [6, 8], "counts": "0hPh"}],
    ids=["polygons", "run lengths", "compressed"],
)
def test_segmentations_are_masks_where_masks_are_taken(segmentation):
    if segmentation == {"size": [6, 8], "counts": "0hPh"}:
        segmentation["counts"] = coco_mask.frPyObjects({"size": [6, 8], "counts": [0, 24, 24]}, 6, 8)["counts"].decode()
    (prompt,) = prompts(objects(annotation(1, 100, None, segmentation=segmentation), use=["mask"]))
    assert coco_mask.decode({"size": [6, 8], "counts": prompt.mask})[:, :4].all()
    assert coco_mask.area({"size": [6, 8], "counts": prompt.mask}) == 24


@pytest.mark.parametrize(
    ("changes", "kind"), [({"iscrowd": 1}, Kind.CROWD), ({"bbox": []}, Kind.NOTHING_GIVEN)], ids=["crowd", "nothing"]
)
def test_what_cannot_be_asked_keeps_its_reason(changes, kind):
    (prompt,) = prompts(objects(annotation(1, 100, [0, 0, 2, 2]) | changes))
    assert prompt.fault.kind is kind


def test_nan_is_that_objects_and_not_the_files():
    first, second = prompts(
        objects(annotation(1, 100, [math.nan, 0, 2, 2], score=math.nan), annotation(2, 100, [0, 0, 2, 2]))
    )
    assert (math.isnan(first.box[0]), first.attributes, second.box) == (True, '{"score":null}', (0.0, 0.0, 2.0, 2.0))


@pytest.mark.parametrize(
    "changes",
    [{"bbox": [1, 2, 3]}, {"bbox": ["a", 2, 3, 4]}, {"image_id": None}, {"category_id": "cup"}, {"keypoints": [1, 2]}],
    ids=str,
)
def test_a_wrong_object_is_named_and_its_neighbours_are_read(changes):
    items = objects(annotation(1, 100, [0, 0, 2, 2]) | changes, annotation(2, 100, [0, 0, 2, 2]))
    assert [prompt.prompt_id for prompt in prompts(items)] == ["2"]
    assert mistakes(items)[0].startswith("a.json, annotation 1: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"images": [\n{"id": 1,, }', "a.json: is no JSON in UTF-8 after line 1"),
        (b'{"images": [', "is no JSON"),
        ('{"images": [{"id": 1, "file_name": "é.jpg"}]}'.encode("latin-1"), "is no JSON in UTF-8"),
        (b"\x89PNG", "is no COCO file"),
        (b'{"images": [{"id": 1}]}', "an image lacks id or file_name: {'id': 1}"),
        (b'{"categories": [{"id": "x", "name": "y"}]}', "a category lacks id or name"),
    ],
    ids=["broken", "cut off", "encoding", "no JSON", "image", "category"],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(content, reason):
    with pytest.raises(ConfigError) as refused:
        read("a.json", content)
    assert reason in str(refused.value)
