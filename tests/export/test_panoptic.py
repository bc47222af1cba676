"""Every pixel says which mask it shows; what is covered whole is in no file."""

import json

import cv2
import numpy as np
from support.exports import export, three_images, written
from support.results import result_of


def read(folder):
    said = json.loads((folder / "annotations.json").read_text())
    pictures = [cv2.imread(str(folder / "panoptic" / one["file_name"])) for one in said["annotations"]]
    return said, [np.int32(bgr) @ (65536, 256, 1) for bgr in pictures]


def squares(*sides):
    masks = [np.zeros((40, 50), bool) for _ in sides]
    for mask_HW, side in zip(masks, sides, strict=True):
        mask_HW[2 : 2 + side, 3 : 3 + side] = True
    return masks


def test_small_masks_lie_on_large_ones_and_numbers_are_those_of_the_file(tmp_path):
    large, small = squares(20, 5)
    said, (numbers,) = read(export(tmp_path, "coco-panoptic", [result_of("a.jpg", [large, small])]))
    assert np.array_equal(numbers == 1, large & ~small)
    assert np.array_equal(numbers == 2, small)
    segments = said["annotations"][0]["segments_info"]
    assert [(one["id"], one["area"], one["bbox"]) for one in segments] == [
        (1, 375, [3, 2, 20, 20]),
        (2, 25, [3, 2, 5, 5]),
    ]
    assert said["categories"] == [{"id": 1, "name": "object", "supercategory": "object", "isthing": 1}]


def test_a_mask_that_is_covered_whole_is_left_out(tmp_path):
    masks = squares(7, 7)
    said, _ = read(export(tmp_path, "coco-panoptic", [result_of("a.jpg", masks)]))
    assert [one["id"] for one in said["annotations"][0]["segments_info"]] == [1]


def test_more_masks_than_a_byte_counts_are_told_apart(tmp_path):
    masks = [np.zeros((20, 20), bool) for _ in range(300)]
    for place, mask_HW in enumerate(masks):
        mask_HW.flat[place] = True
    _, (numbers,) = read(export(tmp_path, "coco-panoptic", [result_of("a.jpg", masks)]))
    assert numbers.ravel()[:300].tolist() == list(range(1, 301))


def test_images_without_masks_are_there_and_failed_ones_are_not(tmp_path):
    folder = export(tmp_path, "coco-panoptic", three_images(squares(9)[0]))
    assert written(folder) == ["annotations.json", "panoptic/b/a.jpg.png", "panoptic/none.jpg.png"]
