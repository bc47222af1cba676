import json
from importlib.util import find_spec

import pytest
import yaml
from support.jobs import draw_photographs, job_config, rows, run

from sam_batch.output.card import card, is_card
from sam_batch.output.plan import Plan, extend
from sam_batch.output.summary import Summary
from sam_batch.records import Status

FINGERPRINT = {
    "model.sha256": json.dumps("ab" * 32),
    "generator.pred_iou_thresh": "0.88",
    "generator.crop_n_layers": "1",
    "generator.box_nms_thresh": "0.7",
    "input.uri": json.dumps(["/home/ada/photos"]),
}


def text(fingerprint=FINGERPRINT, planned=3):
    summary = Summary("out", 0.0, planned=planned, done=3, masks=7)
    summary.status.update({Status.OK: 2, Status.FAILED: 1})
    return card(summary, Plan(extend(None, [], 1), fingerprint, 1)).decode()


def test_its_front_matter_names_the_rows_as_the_data():
    _, front, _ = text().split("---\n", 2)
    assert yaml.safe_load(front)["configs"] == [{"config_name": "default", "data_files": "annotations/*.parquet"}]


def test_it_counts_images_and_masks():
    assert "2 images with 7 masks, 0 without, 1 failed." in text()
    assert "Not finished: 3 of 4 images done." in text(planned=4)


def test_it_lists_what_differs_from_the_defaults_and_the_thresholds_but_no_places():
    made_with = text().partition("## Made with")[2]
    assert "- `generator.crop_n_layers`: `1`\n- `generator.pred_iou_thresh`: `0.88`\n" in made_with
    assert "abab" in made_with
    assert "box_nms_thresh" not in made_with
    assert "ada" not in text()


def test_it_says_what_it_was_filtered_by_but_not_from_where():
    steps = [{"from": "/home/ada/out", "min_mask_area": 9}]
    said = text({**FINGERPRINT, "filter": json.dumps(steps)})
    assert "- filtered by `min_mask_area`: `9`" in said
    assert "ada" not in said


@pytest.mark.parametrize("edit", [lambda t: t + "mine", lambda t: t.replace("Masks of", "My masks of"), lambda t: ""])
def test_one_that_was_edited_is_not_ours(edit):
    assert is_card(text().encode())
    assert not is_card(edit(text()).encode())


@pytest.fixture
def output(tmp_path):
    draw_photographs(tmp_path / "photos", 2)
    run(job_config(tmp_path / "photos", tmp_path / "out"))
    return tmp_path / "out"


def test_a_run_writes_it_and_leaves_that_of_a_user(output, tmp_path):
    readme = output / "README.md"
    assert is_card(readme.read_bytes())
    readme.write_text("mine")
    run(job_config(tmp_path / "photos", output))
    assert readme.read_text() == "mine"
    run(job_config(tmp_path / "photos", output, generator={"points_per_side": 2}), overwrite=str(output))
    assert readme.read_text() == "mine"


@pytest.mark.slow  # imports torch's and pandas' friends once more, and needs the extra `recipes`
@pytest.mark.skipif(find_spec("datasets") is None, reason="the extra `recipes` is not installed")
@pytest.mark.parametrize("streaming", [False, True])
def test_with_it_datasets_opens_the_rows_and_not_the_pictures(output, tmp_path, streaming):
    from datasets import load_dataset

    assert list(output.rglob("*.png"))
    data = load_dataset(str(output), split="train", streaming=streaming, cache_dir=str(tmp_path / "cache"))
    assert list(data) == rows(output)
