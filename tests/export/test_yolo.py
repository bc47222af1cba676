"""YOLO data sets hold every mask as fillPoly draws it, and tell images of one stem apart."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.exports import export, three_images, written
from support.masks import masks
from support.results import result_of

from sam_batch.errors import JobError
from sam_batch.export.yolo import split_of
from sam_batch.output import layout

DOT = np.ones((1, 1), bool)


def read_polygons(text, height, width, to_pixels):
    """As readers do: normalised coordinates times the sides, made whole, and drawn one line after the other."""
    drawn_HW = np.zeros((height, width), np.uint8)
    for line in text.splitlines():
        number, *sides = line.split()
        points_n2 = np.array(sides, np.float32).reshape(-1, 2) * (width, height)
        assert (number, len(points_n2) >= 3) == ("0", True)
        cv2.fillPoly(drawn_HW, [to_pixels(points_n2).astype(np.int32)], 1)
    return drawn_HW.astype(bool)


@pytest.mark.parametrize("to_pixels", [np.round, np.trunc])
@given(masks())
def test_readers_that_round_and_readers_that_cut_off_draw_every_mask_again(tmp_path_factory, to_pixels, mask_HW):
    folder = export(tmp_path_factory.mktemp("out"), "yolo", three_images(mask_HW), images="none", val=0.0)
    text = (folder / "labels/train/b/a.jpg.txt").read_text()
    assert np.array_equal(read_polygons(text, *mask_HW.shape, to_pixels), mask_HW)
    assert (folder / "labels/train/none.jpg.txt").read_text() == ""
    assert written(folder) == ["data.yaml", "labels/train/b/a.jpg.txt", "labels/train/none.jpg.txt"]


def test_boxes_are_centre_and_size(tmp_path):
    mask_HW = np.zeros((10, 20), bool)
    mask_HW[2:6, 5:15] = True
    folder = export(tmp_path, "yolo", three_images(mask_HW), images="none", task="detect", val=0.0)
    assert (folder / "labels/train/b/a.jpg.txt").read_text() == "0 0.5 0.4 0.5 0.4\n"


def pictured(tmp_path, key):
    path = tmp_path / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(key.encode())
    result = result_of(key, [DOT])
    return replace(result, ref=replace(result.ref, uri=str(path)), sha256=hashlib.sha256(key.encode()).hexdigest())


def test_each_picture_lies_where_its_labels_are_looked_for(tmp_path):
    keys = ["a.jpg", "a.png", "images/labels/a.jpg"]
    folder = export(tmp_path / "out", "yolo", [pictured(tmp_path, key) for key in keys], val=0.0)
    pictures = sorted(folder.glob("images/**/*.*g"))
    assert sorted(path.read_bytes().decode() for path in pictures) == keys
    for path in pictures:  # as Ultralytics finds them
        labels = "/labels/".join(str(path).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        assert labels in {str(label) for label in folder.glob("labels/**/*.txt")}


def test_a_picture_that_is_another_one_now_is_refused(tmp_path):
    result = pictured(tmp_path, "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"other")
    with pytest.raises(JobError, match="was replaced since it was labelled"):
        export(tmp_path / "out", "yolo", [result])
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(JobError, match=r"output\.yolo\.images=none does without"):
        export(tmp_path / "out", "yolo", [result])


@given(st.text(max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_more_for_validation_takes_none_out_of_it(key, val, other):
    split = split_of(key, min(val, other))
    assert split_of(key, max(val, other)) == "val" or split == "train"
    assert (split_of(key, 0.0), split_of(key, 1.0)) == ("train", "val")


@pytest.mark.parametrize(("val", "split"), [(0.0, "train"), (1.0, "val")])
def test_data_yaml_names_classes_and_folders_that_exist(tmp_path, val, split):
    folder = export(tmp_path, "yolo", three_images(DOT), images="none", val=val)
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data == {"path": ".", "train": f"images/{split}", "val": f"images/{split}", "names": {0: "object"}}


@given(st.lists(st.text("ab/.jpgtximes", min_size=1, max_size=12), unique=True, max_size=4))
def test_different_images_share_no_file_and_none_lies_where_a_folder_is(keys):
    names = [name for key in keys for name in layout.EXPORTS["yolo"].of_image(key)]
    assert len(set(names)) == len(names)
    assert not any(other.startswith(f"{name}/") for name in names for other in names)
