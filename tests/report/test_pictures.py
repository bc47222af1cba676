"""Thumbnails are small and masks are paths that a page can draw over them."""

import base64
import re

import cv2
import numpy as np
from support.pictures import picture
from support.results import random_masks, result_of

from sam_batch.output.palette import color
from sam_batch.output.schema import results_to_table
from sam_batch.report.pictures import MOST_MASKS, SIDE, drawn_masks, thumbnail


def row(masks):
    return results_to_table([result_of("a.jpg", masks)], {}).to_pylist()[0]


def decoded(address):
    encoded = base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_a_thumbnail_is_the_picture_made_small():
    pixels = picture(900, 1600)
    small = decoded(thumbnail(pixels))
    assert small.shape == (SIDE * 9 // 16, SIDE, 3)
    assert np.abs(small.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 2


def test_small_pictures_keep_their_size():
    assert decoded(thumbnail(picture(40, 30))).shape == (40, 30, 3)


def test_a_strip_of_pixels_stays_one():
    assert decoded(thumbnail(picture(1, 3000))).shape == (1, SIDE, 3)
    assert decoded(thumbnail(picture(3000, 2))).shape == (SIDE, 1, 3)


def test_masks_come_large_ones_first_and_are_bounded():
    masks = drawn_masks(row(random_masks(40, 50, MOST_MASKS + 5)), color)
    areas = [mask["area"] for mask in masks]
    assert len(masks) == MOST_MASKS
    assert areas == sorted(areas, reverse=True)


def test_a_path_covers_its_mask():
    mask_HW = np.zeros((50, 60), bool)
    mask_HW[10:30, 5:45] = True
    (mask,) = drawn_masks(row([mask_HW]), lambda mask_id: (1, 2, 255))
    numbers = [float(number) for number in re.findall(r"[\d.]+", mask["path"])]
    assert (min(numbers[::2]), max(numbers[::2])) == (5, 45)
    assert (min(numbers[1::2]), max(numbers[1::2])) == (10, 30)
    assert mask["color"] == "#0102ff"
    assert (mask["id"], mask["area"], mask["bbox"]) == (0, 800, [5, 10, 40, 20])
