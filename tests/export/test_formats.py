"""Formats are pushed the same parts, and another one is a file and a line."""

from contextlib import contextmanager

import pytest
from support.jobs import draw_photographs, job_config, run
from support.results import failed, result_of

from sam_batch.config import OutputConfig, StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, LeaseError, OutputError
from sam_batch.export.formats import FORMATS, Format, export_finished, is_complete, open_exports, require_known
from sam_batch.output import lease
from sam_batch.output.output import Output
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
def open_names(storage, config, plan):
    yield Names(storage)


def test_a_format_is_one_file_and_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "names", Format(f"{__name__}:open_names", ("names.txt",)))
    monkeypatch.setattr("pkgutil.resolve_name", lambda name: open_names)
    storage, config = Storage(str(tmp_path), StorageConfig()), OutputConfig(uri=str(tmp_path))
    assert not is_complete("names", storage)
    with open_exports(["names"], storage, config, None) as (export,):
        export.add(results_to_table([result_of("a.jpg", [], 0, (4, 4))], {}))
        export.add(results_to_table([failed("b.jpg", 1)], {}))
        assert export.finish() == ["names.txt"]
    assert is_complete("names", storage)
    assert (tmp_path / "names.txt").read_text() == "a.jpg\nb.jpg"


@pytest.fixture
def output(tmp_path):
    draw_photographs(tmp_path / "photos", 3)
    run(job_config(tmp_path / "photos", tmp_path / "out", run={"shard_size": 2}))
    return Output.at(str(tmp_path / "out"), StorageConfig())


def test_a_finished_output_is_exported_as_its_job_did(output, tmp_path):
    before = (tmp_path / "out/coco/annotations.json").read_bytes()
    config = OutputConfig(uri="out")
    assert export_finished(output, ["coco"], config) == ["coco/annotations.json"]
    assert (tmp_path / "out/coco/annotations.json").read_bytes() == before


def test_an_unfinished_output_and_a_held_one_are_refused(output, tmp_path):
    config = OutputConfig(uri="out")
    holding = lease.acquire(output.storage)
    with pytest.raises(LeaseError):
        export_finished(output, ["coco"], config)
    holding.release()
    (tmp_path / "out/annotations/part-00001.parquet").unlink()
    with pytest.raises(OutputError, match="1 of 2 shards not done yet"):
        export_finished(output, ["coco"], config)


def test_an_unknown_format_is_refused_by_its_key():
    require_known(FORMATS)
    with pytest.raises(ConfigError, match=r"output\.exports: 'yollo' is no format; there are coco"):
        require_known(["coco", "yollo"])


def test_coco_can_be_switched_off_by_its_own_section():
    assert OutputConfig(uri="out", coco={"enabled": False}).formats == ()
    assert OutputConfig(uri="out", exports=("coco", "coco")).formats == ("coco",)
