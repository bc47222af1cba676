"""A report of a real output, finished or not."""

import json
import re
from pathlib import Path

import pytest
from support.jobs import draw_photographs, job_config, run

from sam_batch.config import StorageConfig
from sam_batch.errors import OutputError
from sam_batch.report.make import make_report

ANYWHERE = StorageConfig()


@pytest.fixture
def output(tmp_path):
    draw_photographs(tmp_path / "photos", 5)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    run(job_config(tmp_path / "photos", tmp_path / "out", run={"max_failure_rate": 1.0}))
    return tmp_path / "out"


def data(place):
    text = Path(place).read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_a_report_shows_every_image_of_a_small_output(output):
    shown = data(make_report(str(output), ANYWHERE))
    assert sorted(image["key"] for image in shown["images"].values()) == [f"00{i}.jpg" for i in range(5)] + [
        "broken.jpg"
    ]
    assert all(bool(image["photo"]) == (image["status"] != "failed") for image in shown["images"].values())


def test_a_report_is_made_anew_and_never_over_somebody_elses(output):
    make_report(str(output), ANYWHERE)
    (output / "report.html").write_text("mine")
    with pytest.raises(OutputError, match=r"report\.html is not this program's"):
        make_report(str(output), ANYWHERE)
    assert (output / "report.html").read_text() == "mine"


def test_an_unfinished_output_without_metrics_has_a_report(output):
    (output / "annotations" / "part-00001.parquet").unlink()
    (output / "summary.json").unlink()
    (output / "metrics" / "part-00000.json").unlink()
    assert data(make_report(str(output), ANYWHERE))["numbers"][0] == ["of 6 images", 4]


def test_photographs_that_are_gone_or_others_by_now_are_left_out(output):
    draw_photographs(output.parent / "photos", 1, size=(30, 20))
    (output.parent / "photos" / "001.jpg").unlink()
    shown = data(make_report(str(output), ANYWHERE))
    assert [image["key"] for image in shown["images"].values() if image["photo"] is None and not image["error"]] == [
        "000.jpg",
        "001.jpg",
    ]


def test_photographs_are_shown_as_the_model_saw_them(output):
    plain = data(make_report(str(output), ANYWHERE))
    photos, swapped = output.parent / "photos", output.parent / "swapped"
    run(job_config(photos, swapped, input={"bands": [3, 2, 1]}, run={"max_failure_rate": 1.0}))
    shown = data(make_report(str(swapped), ANYWHERE))
    assert all(
        shown["images"][name]["photo"] != image["photo"] for name, image in plain["images"].items() if image["photo"]
    )


def test_the_same_output_gives_the_same_report(output):
    first = Path(make_report(str(output), ANYWHERE)).read_bytes()
    assert Path(make_report(str(output), ANYWHERE)).read_bytes() == first


def test_a_folder_without_a_job_is_refused(tmp_path):
    with pytest.raises(OutputError, match="holds no plan of a job"):
        make_report(str(tmp_path), ANYWHERE)
