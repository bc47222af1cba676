"""What the program measures, on a model that is done in a blink."""

import json

import pytest
from support.small_sam import skeleton

from benchmarks import export
from benchmarks.harness import weights


def test_a_row_says_how_large_and_how_near_the_graphs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.BUILDERS, "small", skeleton)
    row = export.measure("small", "fp32", opset=20, attention=False, parity=True)
    assert 0 < max(row["errors"].values()) < 1e-4
    assert row["bytes"]["encoder"] > row["bytes"]["finish"] > 0
    assert min(row["nodes"].values()) > 0
    assert export.show(row).count("|") == export.HEADING.splitlines()[0].count("|")
    json.dumps(row)
