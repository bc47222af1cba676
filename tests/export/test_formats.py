"""Formats are pushed the same parts, and another one is a file and a line."""

import json
import re
from contextlib import contextmanager

import pytest
from support.jobs import draw_photographs, job_config, run
from support.results import failed, result_of

from sam_batch.config import StorageConfig
from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, JobError, LeaseError, OutputError, StorageError
from sam_batch.export.formats import FORMATS, export_output, open_exports, require_known, unwritten
from sam_batch.output import layout, lease
from sam_batch.output.output import Output
from sam_batch.output.plan import Plan, extend
from sam_batch.output.schema import results_to_table


class Names:
    """A whole format: the names of all images, in a text."""

    def __init__(self, storage):
        self.storage, self.names = storage, []

    def add(self, part):
        self.names += part["key"].to_pylist()

    def finish(self):
        self.storage.replace("names/names.txt", "\n".join(self.names).encode())
        return ["names/names.txt"]


@contextmanager
def open_names(storage, config, plan):
    yield Names(storage)


PLAN = Plan(extend(None, [], shard_size=1), {}, 1)


def test_a_format_is_one_file_and_two_lines(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "names", f"{__name__}:open_names")
    monkeypatch.setitem(layout.EXPORTS, "names", layout.ExportFiles(re.compile("names/names.txt")))
    monkeypatch.setattr("sam_batch.export.formats.resolve_name", lambda name: open_names)
    storage, config = Storage(str(tmp_path), StorageConfig()), OutputConfig(uri=str(tmp_path))
    assert unwritten(["names"], storage, config) == ["names"]
    with open_exports(["names"], storage, config, PLAN) as exports:
        exports.add(results_to_table([result_of("a.jpg", [], 0, (4, 4))], {}))
        exports.add(results_to_table([failed("b.jpg", 1)], {}))
        assert unwritten(["names"], storage, config) == ["names"]
        assert exports.finish() == ["names/names.txt"]
    assert unwritten(["names"], storage, config) == []
    assert (tmp_path / "names/names.txt").read_text() == "a.jpg\nb.jpg"


def test_every_format_says_which_files_it_writes():
    assert FORMATS.keys() == layout.EXPORTS.keys()


@pytest.fixture
def output(tmp_path):
    draw_photographs(tmp_path / "photos", 3)
    run(job_config(tmp_path / "photos", tmp_path / "out", run={"shard_size": 2}))
    return Output.at(str(tmp_path / "out"), StorageConfig())


def test_a_finished_output_is_exported_as_its_job_did(output, tmp_path):
    before = (tmp_path / "out/coco/annotations.json").read_bytes()
    config = OutputConfig(uri="out")
    assert export_output(output, ["coco"], config) == ["coco/annotations.json"]
    assert (tmp_path / "out/coco/annotations.json").read_bytes() == before


def test_an_unfinished_output_and_a_held_one_are_refused(output, tmp_path):
    config = OutputConfig(uri="out")
    holding = lease.acquire(output.storage)
    with pytest.raises(LeaseError):
        export_output(output, ["coco"], config)
    holding.release()
    (tmp_path / "out/annotations/part-00001.parquet").unlink()
    with pytest.raises(OutputError, match="1 of 2 shards not done yet"):
        export_output(output, ["coco"], config)


def test_what_is_done_so_far_is_exported_where_asked_and_anew_by_the_job(output, tmp_path):
    (tmp_path / "out/annotations/part-00001.parquet").unlink()
    config = OutputConfig(uri="out")
    export_output(output, ["coco", "sa1b"], config, unfinished=True)
    assert len(json.loads((tmp_path / "out/coco/annotations.json").read_text())["images"]) == 2
    assert unwritten(["coco", "sa1b"], output.storage, config) == ["coco", "sa1b"]
    run(job_config(tmp_path / "photos", tmp_path / "out"))
    assert len(json.loads((tmp_path / "out/coco/annotations.json").read_text())["images"]) == 3


def test_an_unknown_format_is_refused_by_its_key():
    require_known(FORMATS)
    with pytest.raises(ConfigError, match=r"output\.exports: 'yollo' is no format; there are coco"):
        require_known(["coco", "yollo"])


def test_coco_can_be_switched_off_by_its_own_section():
    assert OutputConfig(uri="out", coco={"enabled": False}).formats == ()
    assert OutputConfig(uri="out", exports=("coco", "coco")).formats == ("coco",)


def test_an_export_is_made_again_when_its_settings_change(output, tmp_path):
    coco = tmp_path / "out/coco/annotations.json"
    run(job_config(tmp_path / "photos", tmp_path / "out", output={"coco": {"segmentation": "counts"}}))
    assert isinstance(json.loads(coco.read_text())["annotations"][0]["segmentation"]["counts"], list)
    written = coco.stat().st_mtime_ns
    run(job_config(tmp_path / "photos", tmp_path / "out", output={"coco": {"segmentation": "counts"}}))
    assert coco.stat().st_mtime_ns == written


def test_what_is_said_of_the_data_set_belongs_to_the_settings(output):
    assert unwritten(["coco"], output.storage, OutputConfig(uri="out")) == []
    assert unwritten(["coco"], output.storage, OutputConfig(uri="out", dataset={"category": "cell"})) == ["coco"]


def test_a_folder_that_holds_files_of_the_same_names_is_refused_before_any_work(output, tmp_path):
    output.storage.write("failures/failures.csv", b"mine")
    with pytest.raises(JobError, match=r"failures/failures.csv is not of this job"):
        export_output(output, ["failures"], OutputConfig(uri="out"))
    with pytest.raises(OutputError, match=r"failures/failures.csv is not of this job"):
        run(job_config(tmp_path / "photos", tmp_path / "out", output={"exports": ["failures"]}))
    assert output.storage.read("failures/failures.csv") == b"mine"


def test_what_is_exported_goes_once_it_is_no_longer_the_whole(output, tmp_path):
    export_output(output, ["failures"], OutputConfig(uri="out"))
    assert (tmp_path / "out/failures/failures.csv").is_file()
    output.storage.write("failures/notes.txt", b"mine")
    draw_photographs(tmp_path / "photos", 1, first=7)
    run(job_config(tmp_path / "photos", tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out/failures").iterdir()] == ["notes.txt"]


def fail(*_):
    raise StorageError("the disk is full")


@pytest.mark.parametrize("step", ["add", "finish"])
def test_an_export_that_fails_on_its_way_leaves_the_one_before(output, tmp_path, monkeypatch, step):
    before = (tmp_path / "out/coco/annotations.json").read_bytes()
    monkeypatch.setattr(f"sam_batch.export.coco.CocoExport.{step}", fail)
    with pytest.raises(StorageError):
        export_output(output, ["coco"], OutputConfig(uri="out", coco={"segmentation": "polygons"}))
    assert (tmp_path / "out/coco/annotations.json").read_bytes() == before
    assert unwritten(["coco"], output.storage, OutputConfig(uri="out")) == []


def test_of_the_files_before_none_stays_beside_the_new_ones(output, tmp_path):
    config = OutputConfig(uri="out")
    export_output(output, ["coco", "labelme", "yolo"], config)
    output.storage.write("coco/annotations-00001.json", b"{}")
    before = {path for name in layout.EXPORTS for path in (tmp_path / "out" / name).rglob("*") if path.is_file()}
    export_output(output, ["coco", "labelme", "yolo"], config)
    after = {path for name in layout.EXPORTS for path in (tmp_path / "out" / name).rglob("*") if path.is_file()}
    assert before - after == {tmp_path / "out/coco/annotations-00001.json"}
    assert unwritten(["coco", "labelme", "yolo"], output.storage, config) == []
