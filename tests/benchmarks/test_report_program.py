"""The whole program, on the fewest rows."""

from benchmarks import report


def test_a_report_is_measured(tmp_path):
    report.write_output(tmp_path, images=40, masks=2)  # more than a shard, and not two
    row = report.measure(str(tmp_path / "out"))
    assert row["seconds"] > 0
    assert 0 < row["peak_bytes_before"] <= row["peak_bytes"]
    assert b"of 40 images" in (tmp_path / "out" / "report.html").read_bytes()
