"""What a job on Ray counts for Prometheus, and what the dashboard shows of it."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sam_batch.job.ray.metrics import METRICS, RayMetrics
from sam_batch.output.parts import Receipt

DASHBOARD = Path(__file__).parents[3] / "configs/grafana.json"


class Recorded:
    """A counter that keeps what it is given; like Ray's it takes nothing but more."""

    def __init__(self, name, about, labels):
        self.labels, self.counted = labels, {}

    def inc(self, amount, tags):
        assert amount > 0
        assert {*self.labels} == {*tags}
        key = tuple(tags.values())
        self.counted[key] = self.counted.get(key, 0) + amount


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.util.metrics", SimpleNamespace(Counter=Recorded))
    return RayMetrics("out")


def test_a_committed_shard_is_counted(metrics):
    rows = [{"kind": None}, {"kind": "corrupt"}, {"kind": "corrupt"}]
    for _ in range(2):
        metrics.add(Receipt(0, ok=1, failed=2, masks=7, load_seconds=0.5, segment_seconds=2.0, rows=rows))
    assert {name: counter.counted for name, counter in metrics._counters.items()} == {
        "sam_batch_images": {("out", "ok"): 2, ("out", "failed"): 4},
        "sam_batch_masks": {("out",): 14},
        "sam_batch_failures": {("out", "corrupt"): 4},
        "sam_batch_seconds": {("out", "load"): 1.0, ("out", "segment"): 4.0},
    }


def expressions():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_shows_each_metric_by_the_name_that_prometheus_gives_it():
    shown = set(re.findall(r"\bray_(sam_batch_\w+?)_total\b", " ".join(expressions())))
    assert shown == {*METRICS}
    assert "sam_batch" not in re.sub(r"\bray_sam_batch_[a-z]+_total\b", "", " ".join(expressions()))


@pytest.mark.parametrize("expression", expressions())
def test_the_dashboard_asks_for_labels_that_its_metrics_have(expression):
    named = re.findall(r"ray_(sam_batch_\w+?)_total", expression)
    labels = {"output", *filter(None, (METRICS[name][0] for name in named))}
    asked = {*re.findall(r"by \((\w+)\)", expression), *re.findall(r"(\w+)=~?\"", expression)}
    assert asked <= labels or not named


def test_panels_do_not_overlap():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len({*cells})
    assert len({panel["id"] for panel in panels}) == len(panels)
