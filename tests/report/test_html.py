"""The page holds its data as data: whatever a file is called, it stays text."""

import json
import re

from support.results import failed, random_masks, result_of

from sam_batch.output.schema import results_to_table
from sam_batch.report.html import page
from sam_batch.report.sample import Sample

HOSTILE = "</script><script>alert(1)</script><!--.jpg"


def content(**about):
    sample = Sample()
    sample.add(results_to_table([result_of(HOSTILE, random_masks(9, 9, 2)), failed("broken.jpg", 1)], {}))
    rows = {row["image_id"]: {"key": row["key"]} for group in sample.groups.values() for row in group.rows}
    known = {
        "output": "runs/a",
        "planned": 3,
        "summary": {},
        "config": "# YAML\n",
        "thresholds": {"pred_iou_thresh": 0.4},
    }
    text = page(sample, rows, known | about).decode()
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(embedded[1])


def test_a_hostile_name_stays_data():
    text, data = content()
    assert data["images"]["0"]["key"] == HOSTILE
    assert HOSTILE not in text


def test_thresholds_of_the_job_are_drawn_into_the_charts():
    _, data = content()
    lines = {chart["title"]: chart["threshold"] for chart in data["histograms"]}
    assert lines["Predicted IoU"] == {"place": 0.4, "text": "pred_iou_thresh 0.4"}
    assert lines["Stability"] is None


def test_an_output_without_summary_and_configuration_has_a_page():
    _, data = content(config="", summary={})
    assert data["numbers"][0] == ["of 3 images", 2]
    assert data["made"] == [["failed, truncated", 1]]


def test_what_the_last_run_said_is_shown():
    run = {"images": 2, "seconds": 1.5, "stage_seconds": {"load": 0.25}}
    _, data = content(
        summary={"notes": ["smaller batches"], "error": "disk full", "run": run, "versions": {"ray": "2"}}
    )
    assert (data["notes"], data["error"]) == (["smaller batches"], "disk full")
    assert ["worker time, load", "0.2 s"] in data["made"]
    assert ["ray", "2"] in data["made"]
