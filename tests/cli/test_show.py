"""One image in, a picture out, and nothing of the user's touched."""

import re
import webbrowser
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.jobs import draw_photographs

from sam_batch.cli.show import DEMO, read_settings

ROOT = Path(__file__).parents[2]
FAKE = ("engine.kind=fake", "generator.points_per_side=4", "model.name=demo")


@pytest.fixture
def photo(tmp_path, monkeypatch):
    draw_photographs(tmp_path / "photos", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "photos" / "000.jpg"


def test_the_picture_lies_among_temporary_files_and_its_place_is_said(photo, call):
    code, told, _ = call("show", photo, *FAKE)
    (place,) = photo.parents[1].glob("temporary/sam-batch-*/*")
    assert code == 0
    assert re.fullmatch(
        rf"000\.jpg: \d+ masks? \(64x48, [\d.]+ s, model fake, fp32\), picture in {re.escape(str(place))}\n", told
    )
    with Image.open(place) as picture:
        assert picture.size == (64, 48)
    assert list(photo.parent.iterdir()) == [photo]


def test_it_lies_where_it_was_asked_for_and_is_what_its_name_says(photo, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("show", photo, *FAKE, "--to", "masks.jpg")[0] == 0
    with Image.open("masks.jpg") as picture:
        assert picture.format == "JPEG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks.jpg", "photos", "temporary"]


def test_what_lies_there_is_not_overwritten(photo, call, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"mine")
    code, _, told = call("show", photo, *FAKE, "--to", tmp_path / "mine.png")
    assert (code, (tmp_path / "mine.png").read_bytes()) == (2, b"mine")
    assert "is there already, and is not overwritten" in told


def test_a_place_that_cannot_be_written_is_said(photo, call, tmp_path):
    code, _, told = call("show", photo, *FAKE, "--to", tmp_path / "no" / "folder.png")
    assert code == 2
    assert "folder.png: cannot be written: No such file or directory" in told


def test_a_grid_shows_three_thresholds_and_says_them_as_overrides(photo, call, tmp_path):
    code, told, _ = call("show", photo, *FAKE, "--grid", "--to", tmp_path / "grid.png")
    strict = told.splitlines()[2]
    assert code == 0
    assert strict.startswith("000.jpg: generator.pred_iou_thresh=0.92 generator.stability_score_thresh=0.967: ")
    looser, given, stricter = (int(number) for number in re.findall(r"(\d+) masks?", told))
    assert looser >= given > stricter
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (3 * 68, 76)


def test_a_grid_has_as_many_masks_in_its_middle_as_the_image_has(photo, call):
    _, alone, _ = call("show", photo, *FAKE)
    _, grid, _ = call("show", photo, *FAKE, "--grid")
    assert re.findall(r"(\d+) masks?", alone) == re.findall(r"(\d+) masks?", grid)[1:2]


def test_open_shows_the_picture(photo, call, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    assert call("show", photo, *FAKE, "--to", tmp_path / "masks.png", "--open")[0] == 0
    assert opened == [(tmp_path / "masks.png").as_uri()]


def test_a_screen_that_is_not_there_is_said_after_the_place_of_the_picture(photo, call, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    code, told, error = call("show", photo, *FAKE, "--open")
    assert code == 2
    assert "picture in" in told
    assert "nothing here opens" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generator.points_per_sid=3"], "generator.points_per_sid: unknown key"),
        (["input.uri=a"], "show takes its image as IMAGE"),
        (["prompts.uri=a.json", "generator.mode=everything"], "prompts.uri: show finds everything"),
        (["--to", "s3://bucket/a.png"], "name a path on this machine"),
        (["--to", "a.gif"], "ends in .png or .jpg"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_read(photo, call, arguments, message):
    code, _, told = call("show", photo, *FAKE, *arguments)
    assert code == 2
    assert message in told


@pytest.mark.parametrize(
    ("name", "message"),
    [("photos", "is a folder, and show takes one image"), ("gone.jpg", "No such file"), ("text.jpg", "not an image")],
)
def test_what_is_no_image_is_refused(photo, call, tmp_path, name, message):
    (tmp_path / "text.jpg").write_text("a text")
    code, _, told = call("show", tmp_path / name, *FAKE)
    assert code == 2
    assert message in told


def test_without_a_model_it_is_the_demo_model_as_the_demo_has_it():
    demo = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    assert {key: demo[key] for key in DEMO} == DEMO
    assert read_settings("a.jpg", []).generator.pred_iou_thresh == 0.4
    assert read_settings("a.jpg", ["generator.pred_iou_thresh=0.5"]).generator.pred_iou_thresh == 0.5


def test_with_a_model_the_defaults_are_those_of_a_job():
    assert read_settings("a.jpg", ["model.name=vit_h"]).generator.pred_iou_thresh == 0.88


def test_the_settings_of_a_job_may_be_given():
    config = read_settings("a.jpg", [str(ROOT / "configs/laptop.yaml")])
    assert (config.input.uri, config.model.name) == ("a.jpg", "vit_b")
