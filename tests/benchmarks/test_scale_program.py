"""The whole program, on the fewest images."""

import json

from benchmarks import scale


def test_each_step_is_measured(tmp_path, capsys):
    scale.main(["--images", "40", "--folder", str(tmp_path), "--parts"])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["images"] == 40
    assert {"list", "store", "status", "count and export COCO"} <= row["steps"].keys()
    assert all(step["peak_megabytes"] > 0 for step in row["steps"].values())


def test_an_input_may_be_imagined(tmp_path, capsys):
    scale.main(["--images", "1040", "--folder", str(tmp_path), "--imagined"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 1040
    assert not list(tmp_path.glob("input*"))
