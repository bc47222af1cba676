"""The whole program, on a small picture; the peak of memory takes processes of its own and is left out."""

import json

import pytest
import torch

from benchmarks import postprocess
from benchmarks.harness import ceiling


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ceiling, "bandwidth", lambda device: 1e9)
    monkeypatch.setattr(postprocess, "measure_memory", lambda scale, arguments: {"kernel": 1})


def test_the_three_ways_agree_and_the_last_line_is_json(capsys):
    postprocess.main(["--prompts", "2", "--threads", "1", "--device", "cpu", "--sizes", "40x30"])
    *lines, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    assert summary["torch"] == torch.__version__
    assert summary["postprocessing"].startswith("compiled kernel")
    assert {"date", "device", "bandwidth", "threads"} <= set(summary)
    assert summary["cuda"] == "not measured"
    assert "CUDA: not measured" in lines
    one = summary["sizes"]["40x30"]
    assert one["stable"] > 0
    assert one["different"] <= one["stable"] // 100
    assert one["ceiling_ms_per_mask"] >= 256 * 256 * 4 / 1e9 * 1e3
    assert min(one["ms_per_mask"].values()) > 0
    assert one["times_faster_than"].keys() == {"reference", "torch"}


def test_ways_that_differ_end_the_program(monkeypatch):
    monkeypatch.setitem(postprocess.WAYS, "torch", lambda low, scale: [])
    with pytest.raises(SystemExit, match="differ"):
        postprocess.main(["--prompts", "2", "--threads", "1", "--device", "cpu", "--sizes", "40x30"])


def test_masks_that_one_way_has_not_are_counted():
    mask, other = ([0, 0, 1, 1], "a"), ([0, 0, 1, 2], "b")
    results = {"reference": [mask, other], "torch": [mask, other], "kernel": [mask]}
    assert postprocess.count_different(results) == 1
