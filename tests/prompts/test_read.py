import gzip
import json

import fsspec
import pytest
from support.jobs import job_config
from support.prompts import dataset, write

from sam_batch.data.storage import Entry
from sam_batch.errors import ConfigError, NotFoundError
from sam_batch.prompts.read import read_prompts

LISTED = [Entry(f"{i:03}.jpg", f"/d/images/{i:03}.jpg") for i in range(3)]
ROW = '{"image": "000.jpg", "x": 1, "y": 2, "w": 3, "h": 4}\n'


def found(uri, **changes):
    return read_prompts(job_config("in", "out", prompts={"uri": uri, **changes}), LISTED)


def test_a_file_a_glob_and_a_list_say_the_same(tmp_path):
    (tmp_path / "a.jsonl").write_text(ROW)
    (tmp_path / "b.jsonl").write_text(ROW.replace("000", "001"))
    names = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    assert found(names).values.equals(found(str(tmp_path / "*.jsonl")).values)
    assert len(found(names)) == 2
    assert len(found(names[0])) == 1


def test_a_packed_file_is_unpacked(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(dataset()).encode()))
    assert len(found(str(tmp_path / "a.json.gz"))) == len(found(str(tmp_path / "a*.json.gz"))) == 6
    whole = gzip.compress(json.dumps(dataset(99)).encode())
    for damaged in (b"no gzip", whole[:400], whole[:400] + b"\0" * 99 + whole[499:]):
        (tmp_path / "b.json.gz").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"prompts\.uri"):
            found(str(tmp_path / "b.json.gz"))


def test_a_source_may_lie_in_an_object_store():
    fsspec.filesystem("memory").pipe_file("/boxes/a.json", json.dumps(dataset()).encode())
    assert len(found("memory://boxes/a.json")) == 6


def test_of_a_yolo_folder_the_labels_are_read_by_its_classes(tmp_path):
    (tmp_path / "labels/t").mkdir(parents=True)
    (tmp_path / "labels/t/000.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "labels/t/001.txt").write_text("")
    (tmp_path / "train.txt").write_text("images/t/000.jpg\n")
    (tmp_path / "README.txt").write_text("Boxes.")
    (tmp_path / "zz.yaml").write_text("names: [cat, cup]")
    for named in (tmp_path, tmp_path / "zz.yaml"):
        given = found(str(named))
        assert given.keys.to_pylist() == ["000.jpg"]
        assert given.values[0]["objects"][0]["category"].as_py() == "cup"


def test_a_list_of_results_gets_names_from_a_data_set(tmp_path):
    names = write(tmp_path / "names.json", dataset())["uri"]
    results = write(tmp_path / "results.json", [{"image_id": 101, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 1}])
    assert found(results["uri"], dataset=names).keys.to_pylist() == ["001.jpg"]
    by_stem = write(tmp_path / "results.json", [{"image_id": "002", "category_id": 7, "bbox": [1, 2, 3, 4]}])
    assert found(by_stem["uri"]).keys.to_pylist() == ["002.jpg"]


@pytest.mark.parametrize("name", ["none.json", "*.json", "none/"])
def test_a_source_that_is_not_there_is_not_found(tmp_path, name):
    with pytest.raises(NotFoundError):
        found(str(tmp_path / name), format="coco")
