import json

import numpy as np
import pytest

from sam_batch.config import StorageConfig
from sam_batch.errors import ConfigError
from sam_batch.evaluate.compare import compare_outputs, pair
from sam_batch.output.output import Output


def compared(first, second):
    return compare_outputs(Output.at(str(first), StorageConfig()), str(second), StorageConfig())


def test_an_output_is_the_same_as_itself(jobs):
    same = compared(jobs / "low", jobs / "low")
    assert (same.images, same.more["equal"], same.mean_iou) == (6, 6, 1.0)
    assert same.masks == [same.matched] * 2
    assert same.recall["all"][1000] == 1.0
    assert same.only_first == same.only_second == same.other_size == []


def test_of_two_outputs_counts_names_and_recall_are_told(jobs):
    found = compared(jobs / "high", jobs / "low")
    assert (found.images, found.only_first, found.only_second) == (4, [], ["004.jpg", "broken.jpg"])
    assert found.masks[0] < found.masks[1]
    assert 0 < found.recall["all"][1000] < 1
    text = found.to_text()
    assert f"2 images only in {jobs}/low: 004.jpg, broken.jpg" in text
    assert "average recall of the second's masks" in text
    assert json.loads(found.to_json())["only_second"] == found.only_second


def test_its_own_export_is_found_whole(jobs):
    found = compared(jobs / "low", jobs / "low/coco/annotations.json")
    assert (found.mean_iou, found.recall["all"][1000]) == (1.0, 1.0)
    assert found.only_first == ["broken.jpg"]  # COCO has no failed images


def test_an_image_of_another_size_is_named_and_not_compared(jobs, tmp_path):
    told = json.loads((jobs / "low/coco/annotations.json").read_text())
    turned = next(image for image in told["images"] if image["file_name"] == "000.jpg")
    turned["height"], turned["width"] = turned["width"], turned["height"]
    (tmp_path / "turned.json").write_text(json.dumps(told))
    found = compared(jobs / "low", tmp_path / "turned.json")
    assert (found.other_size, found.images) == (["000.jpg"], 4)


def test_labellings_without_a_common_image_are_refused(jobs, tmp_path):
    (tmp_path / "other.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(ConfigError, match="has no image of"):
        compared(jobs / "low", tmp_path / "other.json")


def test_masks_are_paired_once_the_best_first():
    assert pair(np.array([[0.6, 0.9], [0.5, 0.8], [0.4, 0.1]])) == [0.9, 0.5]
    assert pair(np.zeros((0, 3))) == []
