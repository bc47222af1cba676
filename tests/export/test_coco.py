"""COCO files load in pycocotools, hold exactly the recorded masks, and stay below their size."""

import contextlib
import io
import json
import math
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.exports import PLAN
from support.results import annotation_of, failed, random_masks, result_of

from sam_batch.config import StorageConfig
from sam_batch.config_output import CocoConfig, OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import StorageError
from sam_batch.export.coco import open_coco
from sam_batch.export.formats import open_exports
from sam_batch.masks import rle
from sam_batch.output import claims
from sam_batch.output.plan import Plan
from sam_batch.output.schema import results_to_table

GIGABYTE = 1 << 30
METADATA = {"model": "demo", "fingerprint": "f"}


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path), StorageConfig())


def image(image_id, count=4, key=None):
    return result_of(key or f"folder é/{image_id}.jpg", random_masks(30, 40, count, image_id), image_id, (30, 40))


def parts_of(*shards):
    return [results_to_table(shard, METADATA) for shard in shards]


def write_coco(parts, storage, max_bytes, **settings):
    # Without checks: tests split files far below the least size that users may ask for.
    coco = CocoConfig.model_construct(**CocoConfig(**settings).model_dump() | {"max_bytes": max_bytes})
    with open_coco(storage, OutputConfig.model_construct(coco=coco)) as export:
        for part in parts:
            export.add(part)
        return export.finish()


def load(storage, key, tmp_path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(tmp_path / key)


def test_pycocotools_decodes_the_recorded_masks(storage, tmp_path):
    results = [image(0), image(1, 0), failed("bad.jpg", 2), image(3, 2)]
    keys = write_coco(parts_of(results[:2], results[2:]), storage, GIGABYTE)
    assert keys == ["coco/annotations.json"]
    coco = load(storage, keys[0], tmp_path)
    assert {one["id"]: one["file_name"] for one in coco.loadImgs(coco.getImgIds())} == {
        1: "folder é/0.jpg",
        2: "folder é/1.jpg",
        4: "folder é/3.jpg",
    }
    for result in results:
        entries = coco.loadAnns(coco.getAnnIds([result.ref.image_id + 1]))
        assert len(entries) == len(result.annotations)
        for entry, recorded in zip(entries, result.annotations, strict=True):
            mask = coco.annToMask(entry)
            rows, columns = np.nonzero(mask)
            assert mask.sum() == entry["area"] == recorded.area
            corner = [columns.min(), rows.min()]
            assert entry["bbox"] == [*corner, np.ptp(columns) + 1, np.ptp(rows) + 1] == list(recorded.bbox)
            assert entry["predicted_iou"] == entry["score"] == recorded.predicted_iou
            assert entry["attributes"] == {"predicted_iou": 0.5, "stability_score": 0.75}
            assert entry["point_coords"] == [list(point) for point in recorded.prompt.points]
            assert entry["crop_box"] == list(recorded.crop_box)


def test_ids_of_masks_depend_on_image_and_mask_and_none_is_a_crowd(storage, tmp_path):
    write_coco(parts_of([image(0), image(1)], [image(2)]), storage, GIGABYTE)
    entries = json.loads((tmp_path / "coco/annotations.json").read_text())["annotations"]
    assert [entry["id"] for entry in entries] == [
        image * 1_000_000 + mask for image in range(3) for mask in range(1, 5)
    ]
    assert [entry["image_id"] for entry in entries] == [1] * 4 + [2] * 4 + [3] * 4
    assert {(entry["iscrowd"], entry["category_id"]) for entry in entries} == {(0, 1)}
    assert isinstance(entries[0]["segmentation"]["counts"], str)


def test_predictions_equal_to_the_truth_score_an_average_precision_of_one(storage, tmp_path):
    """A mask of id 0 would spoil the score."""
    keys = write_coco(parts_of([image(0, 6), image(1, 6)]), storage, GIGABYTE)
    truth = load(storage, keys[0], tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes([{**entry} for entry in truth.dataset["annotations"]]), "segm")
        evaluation.params.maxDets = [100, 100, 100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, -1]
    assert precision.min() == pytest.approx(1.0)


@pytest.mark.parametrize("shards", [[], [[]], [[failed("bad.jpg")]]], ids=["no parts", "no rows", "only failures"])
def test_a_dataset_without_images_is_valid(storage, tmp_path, shards):
    coco = load(storage, *write_coco(parts_of(*shards), storage, GIGABYTE), tmp_path)
    assert coco.dataset["images"] == coco.dataset["annotations"] == []
    assert coco.dataset["categories"] == [{"id": 1, "name": "object", "supercategory": "object"}]


def test_the_metadata_of_the_parts_is_the_info(storage, tmp_path):
    write_coco(parts_of([image(0)]), storage, GIGABYTE)
    info = json.loads((tmp_path / "coco/annotations.json").read_text())["info"]
    assert info == {"description": "Masks of objects", **METADATA}


def test_what_is_said_of_the_data_set_is_in_info_licenses_and_categories(tmp_path):
    about = {"category": "cell", "version": "2", "license": "cc-by-4.0"}
    storage, plan = Storage(str(tmp_path), StorageConfig()), Plan(PLAN.rows, {"input.uri": '["/photos"]'}, 1)
    config = OutputConfig(uri="out", dataset=about)
    with open_exports(["coco"], storage, config, plan) as exports:
        exports.add(parts_of([image(0)])[0])
        exports.finish()
    said = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert said["info"] == {"description": "Masks of objects", "version": "2", "input": "/photos", **METADATA}
    assert said["licenses"] == [{"id": 1, "name": "cc-by-4.0", "url": ""}]
    assert [one["license"] for one in said["images"]] == [1]
    assert [one["name"] for one in said["categories"]] == ["cell"]


def test_the_bytes_do_not_depend_on_how_the_rows_are_cut_into_parts(storage, tmp_path):
    results = [image(index) for index in range(4)]
    written = []
    for parts in (parts_of(results), parts_of(results[:1], results[1:])):
        write_coco(parts, storage, GIGABYTE)
        written.append((tmp_path / "coco/annotations.json").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("spelling", ["rle", "counts", "polygons"])
def test_every_spelling_of_a_mask_gives_it_back(storage, tmp_path, spelling):
    result = image(0, 20)
    holed = random_masks(30, 40, 1)[0]
    holed[::3, ::2] = False
    result = replace(result, annotations=(*result.annotations, annotation_of(holed, 20)))
    coco = load(storage, *write_coco(parts_of([result]), storage, GIGABYTE, segmentation=spelling), tmp_path)
    for entry, recorded in zip(coco.loadAnns(coco.getAnnIds()), result.annotations, strict=True):
        assert np.array_equal(coco.annToMask(entry), rle.decode(recorded.counts, 30, 40))


@settings(max_examples=25)
@given(st.lists(st.integers(0, 5), max_size=8), st.integers(500, 6000))
def test_files_above_the_limit_are_split_into_complete_ones(tmp_path_factory, counts, max_bytes):
    folder = tmp_path_factory.mktemp("split")
    results = [image(index, count) for index, count in enumerate(counts)]
    storage = Storage(str(folder), StorageConfig())
    keys = write_coco(parts_of(results), storage, max_bytes)
    written = {key: json.loads((folder / key).read_text()) for key in keys}

    images = [one["id"] for data in written.values() for one in data["images"]]
    assert images == list(range(1, len(counts) + 1))
    ids = [one["id"] for data in written.values() for one in data["annotations"]]
    assert len(set(ids)) == sum(counts)
    for key, data in written.items():
        assert {one["image_id"] for one in data["annotations"]} <= {one["id"] for one in data["images"]}
        assert (folder / key).stat().st_size <= max_bytes or len(data["images"]) <= 1
    assert claims.is_complete(storage, "coco", {})
    if len(keys) > 1:
        assert keys == [f"coco/annotations-{number:05d}.json" for number in range(len(keys))]


def test_an_interruption_leaves_no_first_file(storage, monkeypatch):
    written = []

    def put_file(key, path):
        if len(written) == 2:
            raise StorageError("the network is gone")
        written.append(key)

    monkeypatch.setattr(storage, "put_file", put_file)
    with pytest.raises(StorageError):
        write_coco(parts_of([image(index) for index in range(6)]), storage, 2000)
    assert written
    assert not {"coco/annotations.json", "coco/annotations-00000.json"} & set(written)


def test_a_full_scratch_folder_is_a_storage_error(storage, tmp_path, monkeypatch):
    # /dev/full takes every open and refuses every byte, as a full disk does.
    monkeypatch.setattr("sam_batch.export.coco_files.TemporaryFile", partial(Path.open, Path("/dev/full"), "r+b"))
    with pytest.raises(StorageError, match="scratch files: No space left on device"):
        write_coco(parts_of([image(0)]), storage, GIGABYTE)
    assert not (tmp_path / "coco").exists()


def test_numbers_that_json_cannot_say_are_refused(storage, tmp_path):
    bad = image(0)
    wrong = replace(bad.annotations[0], predicted_iou=math.nan)
    with pytest.raises(ValueError, match="a number that JSON cannot say"):
        write_coco(parts_of([replace(bad, annotations=(wrong,))]), storage, GIGABYTE)
    assert not (tmp_path / "coco").exists()


def test_parts_that_were_read_are_let_go(storage):
    tables = []

    def parts():
        for index in range(6):
            table = results_to_table([image(index)], {})
            tables.append(weakref.ref(table))
            yield table
            del table
            assert sum(one() is not None for one in tables) <= 2  # the first, for its metadata, and the last

    write_coco(parts(), storage, GIGABYTE)
    assert len(tables) == 6
