"""Folders as amg.py writes them: binary pictures and a table."""

import csv

import cv2
import numpy as np
from hypothesis import given
from support.exports import export, three_images, written
from support.masks import masks
from support.results import random_masks, result_of


@given(masks())
def test_every_mask_is_a_picture_of_0_and_255(tmp_path_factory, mask_HW):
    folder = export(tmp_path_factory.mktemp("out"), "amg", three_images(mask_HW))
    pictures = ["b/a.jpg.masks/0.png"] if mask_HW.any() else []
    assert written(folder) == [*pictures, "b/a.jpg.masks/metadata.csv", "none.jpg.masks/metadata.csv"]
    for name in pictures:
        assert np.array_equal(cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED), mask_HW * np.uint8(255))


def test_the_table_has_the_columns_of_amg_and_a_row_a_mask(tmp_path):
    folder = export(tmp_path, "amg", [result_of("a.jpg", random_masks(20, 30, 3))])
    header, *rows = csv.reader((folder / "a.jpg.masks/metadata.csv").read_text().splitlines())
    assert header == [
        "id", "area", "bbox_x0", "bbox_y0", "bbox_w", "bbox_h", "point_input_x", "point_input_y", "predicted_iou",
        "stability_score", "crop_box_x0", "crop_box_y0", "crop_box_w", "crop_box_h",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[0][6:] == ["1.5", "2.0", "0.5", "0.75", "0.0", "0.0", "30.0", "20.0"]
