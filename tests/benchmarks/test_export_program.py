"""What the program measures, on a model that is done in a blink."""

import json
from functools import partial

from support.small_sam import skeleton, small_sam

from benchmarks import export
from benchmarks.harness import weights


def test_a_row_says_how_large_and_how_near_the_graphs_are(monkeypatch, export_once):
    monkeypatch.setattr(export, "build", lambda model: small_sam(lively=False))
    monkeypatch.setattr(export, "export", partial(export_once, positions="folded"))  # as other tests have it
    row = export.measure("small", "fp32", opset=20, attention=False, parity=True)
    assert 0 < max(row["errors"].values()) < 1e-4
    assert row["bytes"]["encoder"] > row["bytes"]["finish"] > 0
    assert min(row["nodes"].values()) > 0
    assert export.show(row).count("|") == export.HEADING.splitlines()[0].count("|")
    json.dumps(row)


def test_positions_have_values_where_weights_start_with_zeros(monkeypatch):
    monkeypatch.setitem(weights.BUILDERS, "small", skeleton)
    assert export.build("small").image_encoder.pos_embed.std() > 0
