"""Tasks for Label Studio: its decoder gives every mask back."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from support.exports import export, three_images, written
from support.masks import masks

from sam_batch.export.label_studio import brush


def decoded(packed, height, width):
    """As Label Studio reads it: bit by bit, runs and single values, RGBA of which it takes the last channel."""
    bits, at = "".join(f"{byte:08b}" for byte in packed), 0

    def read(count):
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, value_bits, sizes = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < total:
        is_run, count = read(1), read(sizes[read(2)]) + 1
        values += [read(value_bits)] * count if is_run else [read(value_bits) for _ in range(count)]
    return np.array(values, np.uint8).reshape(height, width, 4)


@given(masks())
@example(np.ones((200, 300), bool))
def test_every_mask_comes_back_in_all_four_channels(mask_HW):
    channels_HW4 = decoded(brush(mask_HW).tolist(), *mask_HW.shape)
    assert np.array_equal(channels_HW4, np.repeat(mask_HW[..., None] * np.uint8(255), 4, axis=2))


@pytest.mark.parametrize(
    ("prefix", "image"),
    [(None, "file:///photos/b/a.jpg"), ("/data/local-files/?d=x/", "/data/local-files/?d=x/b/a.jpg")],
)
def test_tasks_name_the_picture_and_predict_its_masks(tmp_path, prefix, image):
    folder = export(tmp_path, "label-studio", three_images(np.eye(5, 7, dtype=bool)), image_prefix=prefix)
    assert written(folder) == ["tasks-00000.json"]
    first, second = json.loads((folder / "tasks-00000.json").read_text())
    assert (first["data"]["image"], second["predictions"][0]["result"]) == (image, [])
    (region,) = first["predictions"][0]["result"]
    assert (region["original_height"], region["original_width"], region["score"]) == (5, 7, 0.5)
    assert region["value"]["brushlabels"] == ["object"]
    assert np.array_equal(decoded(region["value"]["rle"], 5, 7)[..., 3] > 0, np.eye(5, 7, dtype=bool))
