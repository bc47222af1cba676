"""The part is the commit: created once, and replaced only on demand."""

import json
from dataclasses import asdict, replace

import pyarrow as pa
import pytest
from support.results import failed, random_masks, result_of

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Storage
from sam_batch.output import layout, schema
from sam_batch.output.parts import Receipt, commit, merge_into_part
from sam_batch.records import StoredCandidate

PART = layout.part_key(layout.ANNOTATIONS, 4)


@pytest.fixture
def storage(tmp_path):
    return Storage(str(tmp_path), StorageConfig())


def results():
    return [result_of("a.jpg", random_masks(6, 8, 2), 0), result_of("b.jpg", [], 1, (6, 8)), failed("c.jpg", 2)]


def put(storage, rows, *, replace=False):
    commit(storage, Receipt.of(4, rows, (1.0, 2.0, 3.0)), rows, {"made by": "a test"}, replace=replace)


def test_a_receipt_counts_every_image_once():
    receipt = Receipt.of(4, results(), (1.0, 2.0, 3.0))
    assert (receipt.ok, receipt.empty, receipt.failed, receipt.masks, receipt.images) == (1, 1, 1, 2, 3)


@pytest.mark.parametrize("texts", [[], ["slow", "late"]])
def test_a_receipt_crosses_processes_as_a_row_of_arrow(texts):
    receipt = Receipt.of(4, results(), (1.0, 2.0, 3.0), texts, texts)
    assert Receipt(**pa.Table.from_pylist([asdict(receipt)]).to_pylist()[0]) == receipt


def test_notes_lie_beside_the_part_and_not_in_it(storage):
    put(storage, results())
    part = storage.read(PART)
    storage.delete(PART)
    commit(
        storage, Receipt.of(4, results(), (1.0, 2.0, 3.0), ["slow"]), results(), {"made by": "a test"}, replace=False
    )
    assert storage.read(PART) == part
    assert json.loads(storage.read(layout.metrics_key(4)))["notes"] == ["slow"]


def test_a_committed_part_holds_the_rows_and_their_origin(storage):
    put(storage, results())
    part = schema.read_part(storage.read(PART))
    assert [row["key"] for row in part.to_pylist()] == ["a.jpg", "b.jpg", "c.jpg"]
    assert schema.part_metadata(part)["made by"] == "a test"


def test_the_first_part_wins(storage):
    put(storage, results())
    first = storage.read(PART)
    put(storage, [failed("a.jpg", 0)])
    assert storage.read(PART) == first


def test_replacing_puts_new_rows_in_the_place_of_the_old(storage):
    put(storage, results())
    again = result_of("c.jpg", random_masks(6, 8, 1), 2)
    merged = merge_into_part(storage, 4, [again])
    put(storage, merged, replace=True)
    rows = schema.read_part(storage.read(PART)).to_pylist()
    assert [(row["key"], row["status"]) for row in rows] == [("a.jpg", "ok"), ("b.jpg", "empty"), ("c.jpg", "ok")]


def test_candidates_stay_when_some_of_a_part_is_done_again(storage):
    mask = StoredCandidate(result_of("a.jpg", random_masks(6, 8, 1)).annotations[0], layer=1)
    rows = [replace(results()[0], candidates=(mask,)), results()[2]]
    commit(storage, Receipt.of(4, rows, (1.0, 2.0, 3.0)), rows, {}, replace=False, candidates=True)
    merged = merge_into_part(storage, 4, [result_of("c.jpg", [], 2, (6, 8))])
    assert [row.candidates for row in merged] == [(mask,), None]


def test_metrics_count_the_whole_part_when_some_of_it_was_done_again(storage):
    put(storage, results())
    again = [result_of("c.jpg", random_masks(6, 8, 1), 2)]
    rows = merge_into_part(storage, 4, again)
    commit(storage, Receipt.of(4, again, (1.0, 2.0, 3.0)), rows, {}, replace=True)
    metrics = json.loads(storage.read(layout.metrics_key(4)))
    assert (metrics["ok"], metrics["empty"], metrics["failed"], metrics["masks"]) == (2, 1, 0, 3)
    assert metrics["failures"] == {}


def test_metrics_lie_beside_the_part_and_count_failures_by_kind(storage):
    put(storage, results())
    metrics = json.loads(storage.read(layout.metrics_key(4)))
    assert metrics["failures"] == {"truncated": 1}
    assert (metrics["masks"], metrics["segment_seconds"]) == (2, 2.0)
