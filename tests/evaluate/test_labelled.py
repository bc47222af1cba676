import json

import pytest

from sam_batch.config import StorageConfig
from sam_batch.errors import ConfigError, OutputError
from sam_batch.evaluate.labelled import Pairing, StoredImages, of_row, open_truth
from sam_batch.output.output import Output

TRIANGLE = [[0, 0, 8, 0, 0, 8]]


def truth(tmp_path, *names, **changes):
    images = [{"id": number, "file_name": name, "height": 10, "width": 12} for number, name in enumerate(names)]
    objects = [{"image_id": 0, "category_id": 7, "segmentation": TRIANGLE, "area": 30, "iscrowd": 0}]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": objects} | changes))
    return open_truth(str(path), StorageConfig())


def test_a_coco_file_has_its_images_objects(tmp_path):
    images = truth(tmp_path, "a.jpg", "b.jpg")
    (mask,) = images.at(0).masks
    assert (images.at(0).size_hw, mask.area, mask.is_crowd) == ((10, 12), 30, False)
    assert images.at(1).masks == []


def test_an_object_without_an_area_has_that_of_its_mask(tmp_path):
    objects = [{"image_id": 0, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]]}]
    (mask,) = truth(tmp_path, "a.jpg", annotations=objects).at(0).masks
    assert (mask.area, mask.is_crowd) == (12, False)


@pytest.mark.parametrize("changes", [{"images": 3}, {"annotations": [{}]}, {"images": [{"id": 1}]}])
def test_a_file_that_is_no_coco_is_refused_by_name(tmp_path, changes):
    with pytest.raises(ConfigError, match=r"truth\.json: is no COCO file of masks"):
        truth(tmp_path, "a.jpg", **changes)


def test_a_name_means_an_image_by_its_end(tmp_path):
    pairing = Pairing(truth(tmp_path, "val/a.jpg", "b.jpg", "c.jpg"))
    assert pairing.find("a.jpg") is not None
    assert pairing.find("x/b.jpg") is not None
    assert pairing.find("d.jpg") is None
    assert pairing.left() == ["c.jpg"]


def test_an_image_that_two_names_mean_is_refused(tmp_path):
    pairing = Pairing(truth(tmp_path, "a.jpg"))
    pairing.find("x/a.jpg")
    with pytest.raises(ConfigError, match=r"x/a\.jpg and y/a\.jpg both mean a\.jpg"):
        pairing.find("y/a.jpg")


def test_an_output_has_its_rows_by_place(jobs):
    images = StoredImages(Output.at(str(jobs / "low"), StorageConfig()))
    rows = {row.ref.key: of_row(row) for row in images.rows()}
    assert {entry.key: images.at(place) for place, entry in enumerate(images.entries)} == rows
    assert sorted(rows) == [*(f"00{number}.jpg" for number in range(5)), "broken.jpg"]


def test_a_folder_without_a_job_is_refused(jobs):
    with pytest.raises(OutputError, match="holds no plan of a job"):
        open_truth(str(jobs / "photos"), StorageConfig())
