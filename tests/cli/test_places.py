import pytest

from sam_batch.cli.places import require_free, write_new
from sam_batch.errors import ConfigError, OutputError


@pytest.mark.parametrize("name", ["chart.txt", "s3://bucket/chart.svg"])
def test_a_place_of_another_kind_is_refused(name):
    with pytest.raises(ConfigError, match=r"--plot .*: name a path on this machine that ends in \.svg"):
        require_free("--plot", name, (".svg",))


def test_what_is_there_is_not_overwritten(tmp_path):
    place = require_free("--plot", str(tmp_path / "chart.SVG"), (".svg",))
    write_new("--plot", place, b"one")
    with pytest.raises(OutputError, match="is there already"):
        require_free("--plot", str(place), (".svg",))
    with pytest.raises(OutputError, match="is there already"):
        write_new("--plot", place, b"two")
    assert place.read_bytes() == b"one"


def test_what_cannot_be_written_is_said_with_its_reason(tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        write_new("--plot", tmp_path / "none/chart.svg", b"one")
