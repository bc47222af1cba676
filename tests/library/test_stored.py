"""An output is read as records and tables, from a folder or a bucket, without torch or Ray."""

import re
import sys
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

import sam_batch
from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.errors import ConfigError, OutputError
from sam_batch.output.output import Output
from sam_batch.output.schema import table_to_results
from sam_batch.records import FailureKind, Status

OUTPUT = Path(__file__).parents[1] / "golden" / "0.1.0" / "output"
PAGE = Path(__file__).parents[2] / "docs" / "library.md"


@pytest.fixture
def records():
    return sam_batch.read(OUTPUT)


def stored():
    """The same rows past the code under test."""
    output = Output(Storage(str(OUTPUT), StorageConfig()))
    return [row for part in output.parts(output.require_plan(), output.done()) for row in table_to_results(part)]


def test_each_image_is_a_record_with_its_masks(records):
    assert [(one.key, one.status, len(one.masks)) for one in records] == [
        (row.ref.key, row.status, len(row.annotations)) for row in stored()
    ]
    assert [one.failure.kind for one in records if one.status == Status.FAILED] == [FailureKind.TRUNCATED]
    first = next(iter(records))
    assert first.masks.arrays.sum(axis=(1, 2)).tolist() == first.masks.areas.tolist()


def test_it_can_be_gone_through_again_and_left_halfway(records):
    assert len(records) == records.planned == len(list(records)) == len(list(records)) == 7
    assert next(iter(records)).key == "a.jpg"
    assert repr(records).startswith("<7 of 7 images in ")


def test_a_job_that_goes_on_does_not_change_what_was_opened(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(OUTPUT), "/unfinished", recursive=True)
    memory.mv("/unfinished/annotations/part-00002.parquet", "/later")
    records = sam_batch.read("memory://unfinished", {"attempts": 1})
    memory.mv("/later", "/unfinished/annotations/part-00002.parquet")
    assert (len(records), records.planned, records.arrow().num_rows) == (5, 7, 5)
    memory.rm("/unfinished", recursive=True)


def test_tables_have_a_row_an_image_or_a_row_a_mask(records):
    images, masks = records.arrow(), records.masks.arrow()
    assert table_to_results(images) == stored()
    assert masks["counts"].to_pylist() == [one.counts for row in stored() for one in row.annotations]
    sizes = [(row.ref.key, row.height) for row in stored() for _ in row.annotations]
    assert list(zip(masks["key"].to_pylist(), masks["height"].to_pylist(), strict=True)) == sizes


def test_memory_holds_some_parts_and_not_the_output(records, monkeypatch):
    read = []
    parts = Output.parts
    monkeypatch.setattr(Output, "parts", lambda *given: (read.append(1) or part for part in parts(*given)))
    batches = records.masks.batches()
    next(batches)
    assert len(read) == 1


def test_what_takes_arrow_streams_takes_them_again_and_again(records):
    assert pa.table(records.masks) == pa.table(records.masks) == records.masks.arrow()
    relation = records.masks.to_duckdb()
    assert relation.aggregate("count(*), max(area)").fetchall() == relation.aggregate("count(*), max(area)").fetchall()
    assert len(relation.filter("key = 'z.jpg'").fetchall()) == 11


def test_pandas_has_a_row_a_mask(records):
    frame = records.masks.to_pandas()
    assert frame.groupby("key").size().to_dict() == {
        row.ref.key: len(row.annotations) for row in stored() if row.annotations
    }


@pytest.mark.parametrize(
    ("package", "ask"),
    [
        ("pandas", lambda records: records.to_pandas()),
        ("duckdb", lambda records: records.to_duckdb()),
        ("supervision", lambda records: next(iter(records)).detections()),
    ],
)
def test_a_package_that_is_missing_is_named(records, monkeypatch, package, ask):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"{package} is not installed.*pip install '{package}"):
        ask(records)


def test_a_package_that_is_too_old_is_refused(records, monkeypatch):
    monkeypatch.setattr("sam_batch.library.stored.version", lambda name: "1.4.4")
    with pytest.raises(ConfigError, match=r"duckdb 1\.4\.4 is too old: pip install 'duckdb>=1\.5'"):
        records.to_duckdb()


def test_where_no_job_has_begun_there_is_nothing_to_read(tmp_path):
    with pytest.raises(OutputError, match="holds no plan of a job"):
        sam_batch.read(tmp_path)
    with pytest.raises(ConfigError, match=r"storage\.endpoint: .*unknown"):
        sam_batch.read(tmp_path, {"endpoint": "http://minio:9000"})


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    code = re.search(r"## What a job wrote\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(OUTPUT)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["pixels"].sum() == names["best"].area
    assert len(names["masks"]) == 53
    assert len(names["largest"].fetchall()) == 10
