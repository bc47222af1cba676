"""Formats are pushed the same parts, and another one is a file and a line."""

from contextlib import contextmanager

import pytest
from support.results import failed, result_of

from sam_batch.config import OutputConfig, StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError
from sam_batch.export.formats import FORMATS, Format, is_complete, open_exports, require_known
from sam_batch.output.schema import results_to_table


class Names:
    """A whole format: the names of all images, in a text."""

    def __init__(self, storage):
        self.storage, self.names = storage, []

    def add(self, part):
        self.names += part["key"].to_pylist()

    def finish(self):
        self.storage.replace("names.txt", "\n".join(self.names).encode())
        return ["names.txt"]


@contextmanager
def open_names(storage, config):
    yield Names(storage)


def test_a_format_is_one_file_and_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "names", Format(f"{__name__}:open_names", ("names.txt",)))
    monkeypatch.setattr("pkgutil.resolve_name", lambda name: open_names)
    storage, config = Storage(str(tmp_path), StorageConfig()), OutputConfig(uri=str(tmp_path))
    assert not is_complete("names", storage)
    with open_exports(["names"], storage, config) as (export,):
        export.add(results_to_table([result_of("a.jpg", [], 0, (4, 4))], {}))
        export.add(results_to_table([failed("b.jpg", 1)], {}))
        assert export.finish() == ["names.txt"]
    assert is_complete("names", storage)
    assert (tmp_path / "names.txt").read_text() == "a.jpg\nb.jpg"


def test_an_unknown_format_is_refused_by_its_key():
    require_known(FORMATS)
    with pytest.raises(ConfigError, match=r"output\.exports: 'yollo' is no format; there are coco"):
        require_known(["coco", "yollo"])


def test_coco_can_be_switched_off_by_its_own_section():
    assert OutputConfig(uri="out", coco={"enabled": False}).formats == ()
    assert OutputConfig(uri="out", exports=("coco", "coco")).formats == ("coco",)
