"""Photographs beside annotations show what was labelled, or are the file itself."""

import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image
from support.exports import PLAN, export, result_at
from support.readers.cases import Photo

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import JobError
from sam_batch.export.pictures import Pictures

MASK = np.zeros((64, 128), bool)
MASK[8:32, 16:72] = True


def beside(tmp_path, photo, images):
    """What is exported of a photograph: its entry, and its picture."""
    result = result_at(photo.save(tmp_path / "photos"), photo)
    folder = export(tmp_path / "out", "coco-images", [result], images=images)
    (entry,) = json.loads((folder / "annotations.json").read_text())["images"]
    return entry, folder / "images" / entry["file_name"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_oriented_picture_lies_under_its_masks_without_any_turning(tmp_path, orientation):
    entry, path = beside(tmp_path, Photo("b/a.jpg", [MASK], (64, 128), orientation), "oriented")
    assert (entry["key"], entry["height"], entry["width"]) == ("b/a.jpg", 64, 128)
    picture_HW3 = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert np.array_equal(picture_HW3[..., 1] < 128, MASK)


def test_one_that_is_upright_already_is_the_file_itself(tmp_path):
    entry, path = beside(tmp_path, Photo("a.jpg", [MASK], (64, 128)), "oriented")
    assert entry["file_name"] == "a.jpg.jpg"
    assert path.read_bytes() == (tmp_path / "photos/a.jpg").read_bytes()


def test_what_few_programs_read_becomes_png(tmp_path):
    Image.fromarray(np.full((64, 128), 1000, np.uint16)).save(tmp_path / "deep.tif")
    folder = export(
        tmp_path / "out",
        "coco-images",
        [result_at(tmp_path / "deep.tif", Photo("deep.tif", [MASK]))],
        images="oriented",
    )
    with Image.open(folder / "images/deep.tif.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (128, 64))


def test_a_link_is_the_photograph_and_takes_no_room(tmp_path):
    entry, path = beside(tmp_path, Photo("a.jpg", [MASK], (64, 128)), "link")
    assert path.samefile(tmp_path / "photos/a.jpg")
    assert entry["file_name"] == "a.jpg.jpg"


def test_a_photograph_that_cannot_be_linked_is_refused_with_what_to_do(tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(JobError, match="Invalid cross-device link; images=copy makes copies"):
        beside(tmp_path, Photo("a.jpg", [MASK], (64, 128)), "link")


def test_where_one_is_gone_it_is_said_what_does_without(tmp_path):
    pictures = Pictures(Storage(str(tmp_path), StorageConfig()), "copy", PLAN)
    with pytest.raises(JobError, match="the format coco does without"):
        pictures.put({"key": "a.jpg", "uri": str(tmp_path / "a.jpg"), "sha256": ""}, "images")
