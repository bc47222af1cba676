"""The folder's rows hold each photograph and mask; `make test-readers` opens them by `datasets` itself."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image
from support.exports import export, result_at, written
from support.readers.cases import Photo
from support.results import failed, random_masks

MASKS = random_masks(64, 128, 3)


def rows_of(tmp_path, photo=None, **settings):
    photo = photo or Photo("b/a.jpg", MASKS, (64, 128))
    result = result_at(photo.save(tmp_path / "photos"), photo)
    return pq.read_table(export(tmp_path / "out", "hf", [result, failed("bad.jpg", 1)], **settings) / "data")


def test_a_row_has_the_photograph_its_masks_and_what_is_known_of_them(tmp_path):
    (row,) = rows_of(tmp_path).to_pylist()
    assert (row["key"], row["width"], row["height"], row["image"]["path"]) == ("b/a.jpg", 128, 64, "b/a.jpg")
    assert row["image"]["bytes"] == (tmp_path / "photos/b/a.jpg").read_bytes()
    for picture, mask_HW in zip(row["masks"], MASKS, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture["bytes"]))), mask_HW)
    assert [one["area"] for one in row["objects"]] == [int(mask_HW.sum()) for mask_HW in MASKS]
    assert {(one["category"], one["predicted_iou"]) for one in row["objects"]} == {(0, 0.5)}


def test_datasets_is_told_what_the_columns_are(tmp_path):
    schema = rows_of(tmp_path).schema
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["masks"] == {"feature": {"_type": "Image"}, "_type": "List"}
    assert features["objects"]["feature"]["category"]["names"] == ["object"]


def test_an_oriented_photograph_is_as_its_masks(tmp_path):
    (row,) = rows_of(tmp_path, Photo("a.jpg", MASKS, (64, 128), orientation=6), images="oriented").to_pylist()
    assert row["image"]["path"] == "a.jpg.png"
    assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (128, 64)


def test_the_card_names_the_files_and_counts(tmp_path):
    folder = export(tmp_path, "hf", [failed("bad.jpg")])
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["configs"] == [{"config_name": "default", "data_files": "data/train-*.parquet"}]
    assert "0 images, 0 masks" in text
    assert written(folder) == ["README.md"]
