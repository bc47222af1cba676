"""COCO files become one: without moving numbers, doubling images or changing what annotations say."""

import json
import shutil
from pathlib import Path

import pytest
from support.results import random_masks, result_of

from sam_batch.config import StorageConfig
from sam_batch.config_output import CocoConfig, OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, OutputError
from sam_batch.export.coco import open_coco
from sam_batch.export.merged import merge_coco
from sam_batch.output.schema import results_to_table

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "output"


def split(folder, max_bytes, **about):
    """An output's COCO files, of four images."""
    coco = CocoConfig.model_construct(**CocoConfig().model_dump() | {"max_bytes": max_bytes})
    config = OutputConfig.model_construct(coco=coco, dataset=OutputConfig(uri="out", dataset=about).dataset)
    images = [result_of(f"{name}.jpg", random_masks(30, 40, 3, place), place) for place, name in enumerate("abcd")]
    with open_coco(Storage(str(folder), StorageConfig()), config) as export:
        export.add(results_to_table(images, {"sam_batch.model": "demo"}))
        return [str(folder / key) for key in export.finish()]


def merged(folder, *sources, **how):
    merge_coco([str(source) for source in sources], str(folder / "merged.json"), StorageConfig(), **how)
    return read(folder / "merged.json")


def read(path):
    return json.loads(Path(path).read_text())


def dataset(path, images, annotations=(), **rest):
    said = {"images": [{"id": number, "file_name": name} for number, name in images]}
    said["annotations"] = [{"id": number, "image_id": image, "score": 0.5} for number, image in annotations]
    path.write_text(json.dumps(said | rest))
    return path


@pytest.fixture
def first(tmp_path):
    return dataset(tmp_path / "first.json", [(1, "a.jpg"), (2, "b.jpg")], [(1, 1), (2, 2)])


def test_split_files_become_the_file_that_one_would_have_been(tmp_path):
    (whole,) = split(tmp_path / "whole", 1 << 30, license="mit")
    files = split(tmp_path / "split", 1000, license="mit")
    assert len(files) > 2
    assert merged(tmp_path, *files) == read(whole)


def test_an_output_stands_for_its_files_and_a_bucket_for_a_folder(tmp_path):
    destination = "memory://merged/all.json"
    assert merge_coco([str(GOLDEN)], destination, StorageConfig()) == (6, 53)
    storage = Storage("memory://merged", StorageConfig())
    assert json.loads(storage.read("all.json")) == read(GOLDEN / "coco/annotations.json")
    storage.delete("all.json")


def test_an_image_of_two_sources_is_refused_by_name_unless_one_is_preferred(first, tmp_path):
    second = dataset(tmp_path / "second.json", [(7, "b.jpg"), (8, "c.jpg")], [(70, 7), (71, 7), (80, 8)])
    with pytest.raises(ConfigError, match=r"have b\.jpg; --prefer first or last"):
        merged(tmp_path, first, second)
    assert not (tmp_path / "merged.json").exists()
    for prefer, images, annotations in (("first", [1, 2, 8], [1, 2, 80]), ("last", [1, 7, 8], [1, 70, 71, 80])):
        said = merged(tmp_path, first, second, prefer=prefer)
        assert [one["id"] for one in said["images"]] == images
        assert [one["id"] for one in said["annotations"]] == annotations
        (tmp_path / "merged.json").unlink()


def test_numbers_of_two_sources_are_refused_unless_new_ones_are_wanted(first, tmp_path):
    second = dataset(tmp_path / "second.json", [(0, "c.jpg"), (2, "d.jpg")], [(2, 2), (5, 0)])
    with pytest.raises(ConfigError, match=r"second\.json: has numbers .* --renumber"):
        merged(tmp_path, first, second)
    said = merged(tmp_path, first, second, renumber=True)
    assert {one["id"]: one["file_name"] for one in said["images"]} == {1: "a.jpg", 2: "b.jpg", 3: "c.jpg", 5: "d.jpg"}
    assert {one["id"]: one["image_id"] for one in said["annotations"]} == {1: 1, 2: 2, 3: 5, 6: 3}


def test_what_annotations_say_is_carried_over(tmp_path):
    masks = {"segmentation": {"size": [3, 4], "counts": 'ab\\"é'}, "bbox": [0.5, 1, 2.25, 1e-7], "extra": [None, True]}
    said = {"images": [{"id": 1, "file_name": "ä.jpg", "own": 1}], "annotations": [{"id": 1, "image_id": 1, **masks}]}
    (tmp_path / "first.json").write_text(json.dumps(said))
    assert merged(tmp_path, tmp_path / "first.json") == said | {"categories": [], "licenses": [], "info": {}}


def test_categories_are_united_and_info_is_what_all_say(tmp_path):
    cup, cat = {"id": 1, "name": "cup"}, {"id": 2, "name": "cat"}
    one = dataset(tmp_path / "1.json", [(1, "a")], categories=[cup], info={"version": "1", "url": "x"})
    two = dataset(tmp_path / "2.json", [(2, "b")], categories=[cup, cat], info={"version": "1", "url": "y"})
    said = merged(tmp_path, one, two)
    assert (said["categories"], said["info"]) == ([cup, cat], {"version": "1"})
    three = dataset(tmp_path / "3.json", [(3, "c")], categories=[{"id": 1, "name": "bowl"}])
    with pytest.raises(ConfigError, match=r"3\.json: categories .*bowl.* a source before it has .*cup"):
        merge_coco([str(one), str(three)], str(tmp_path / "other.json"), StorageConfig())


@pytest.mark.parametrize(
    ("images", "annotations", "said"),
    [
        ([(1, "a"), (1, "b")], [], "the number 1 stands at more than one image"),
        ([(1, "a"), (2, "a")], [], "has the image a twice"),
        ([(1, "a")], [(5, 1), (5, 1)], "the number 5 stands at more than one annotation"),
        ([(1, "a")], [(5, 9)], "has annotations of the image 9, and no such image"),
        ([("x", "a")], [], "an image without file_name, or without a whole number as id"),
    ],
)
def test_what_is_no_data_set_in_itself_is_refused(tmp_path, images, annotations, said):
    with pytest.raises(ConfigError, match=said):
        merged(tmp_path, dataset(tmp_path / "bad.json", images, annotations))


def test_nothing_is_overwritten_and_no_part_is_taken_for_the_whole(first, tmp_path):
    with pytest.raises(OutputError, match="is there already"):
        merge_coco([str(first)], str(first), StorageConfig())
    (tmp_path / "torn.json").write_text(first.read_text()[:-9])
    with pytest.raises(ConfigError, match="is no JSON in UTF-8 after line 1"):
        merged(tmp_path, tmp_path / "torn.json")
    (tmp_path / "results.json").write_text('[{"image_id": 1, "category_id": 1}]')
    with pytest.raises(ConfigError, match=r"results\.json: is no COCO data set, which begins with {"):
        merged(tmp_path, tmp_path / "results.json")
    shutil.copytree(GOLDEN, tmp_path / "out")
    (tmp_path / "out/coco/export.json").write_text('{"sam_batch.export": "coco", "complete": false}')
    with pytest.raises(ConfigError, match="has no whole COCO; `sam-batch export"):
        merged(tmp_path, tmp_path / "out")
