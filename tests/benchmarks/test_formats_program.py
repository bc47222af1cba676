"""The whole program, on the fewest masks."""

import pytest

from benchmarks import formats


@pytest.mark.parametrize("way", ["coco:polygons", "sa1b"])
def test_a_format_is_measured(monkeypatch, way):
    monkeypatch.setattr(formats, "PER_IMAGE", 1)
    row = formats.measure(way, 40)
    assert (row["format"], row["masks"]) == (way, 40)
    assert 0 < row["peak_bytes_before"] <= row["peak_bytes"]
    assert row["masks_per_cpu_second"] > 0 < row["bytes_per_mask"]
