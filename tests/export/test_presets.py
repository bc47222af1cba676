"""Each preset puts its file and pictures where its program looks; `make test-readers` opens them by the programs."""

import json

import pytest
from support.exports import export, result_at, written
from support.readers.cases import Photo
from support.results import random_masks

from sam_batch.export.presets import SEGMENTATION

MASKS = random_masks(64, 128, 3)
FILES = {
    "cvat": ["annotations/instances_default.json"],
    "datumaro": ["annotations/instances_default.json", "images/default/a.jpg.png"],
    "detectron2": ["annotations.json"],
    "mmdet": ["annotations.json"],
    "transformers": ["annotations.json", "images/a.jpg.png"],
}


@pytest.mark.parametrize("name", SEGMENTATION)
def test_a_preset_has_its_files_and_spelling(tmp_path, name):
    photo = Photo("a.jpg", MASKS, (64, 128), orientation=6)
    folder = export(tmp_path / "out", name, [result_at(photo.save(tmp_path / "photos"), photo)])
    assert written(folder) == FILES[name]
    said = json.loads((folder / FILES[name][0]).read_text())
    assert said["images"][0]["file_name"] == ("a.jpg" if len(FILES[name]) == 1 else "a.jpg.png")
    is_list = isinstance(said["annotations"][0]["segmentation"], list)
    assert is_list == (name in ("detectron2", "mmdet", "transformers"))
