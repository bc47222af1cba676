"""Records to tables and back: nothing is lost, and the bytes of a part depend on its content alone."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.results import annotations, failed, failed_results, loaded_images, random_masks, refs, result_of, results

from sam_batch.errors import StorageError
from sam_batch.output import schema
from sam_batch.records import Failure, FailureKind, ImageResult, LoadedImage, Prompt, Stage, StoredCandidate

METADATA = {"model": "demo", "fingerprint": "f" * 64}


def without_size(result):
    asked = tuple(ended.prompt for ended in result.prompts) or None
    return replace(result, ref=replace(result.ref, size=None, prompts=asked))


@given(st.lists(results, max_size=4))
def test_results_come_back_as_they_were(given_results):
    table = schema.results_to_table(given_results, METADATA)
    assert table.schema.equals(schema.ANNOTATION_SCHEMA)
    stored = schema.read_part(schema.part_bytes(table))
    assert stored.schema.equals(schema.ANNOTATION_SCHEMA)
    assert schema.table_to_results(stored) == [without_size(result) for result in given_results]


def test_a_part_without_notes_is_read_as_having_none():
    """As version 0.1.0 wrote it."""
    table = schema.results_to_table([result_of("a.jpg", random_masks(8, 8, 2))], METADATA)
    old = schema.read_part(schema.part_bytes(table.drop_columns(["notes"])))
    assert old.schema.equals(schema.ANNOTATION_SCHEMA)
    assert schema.table_to_results(old) == schema.table_to_results(table)
    assert schema.part_metadata(old) == METADATA


def test_a_part_says_its_version_and_one_of_a_newer_version_is_refused():
    table = schema.results_to_table([failed("a.jpg")], METADATA)
    assert table.schema.metadata[b"sam_batch.schema"] == b"2"
    newer = table.replace_schema_metadata({**table.schema.metadata, b"sam_batch.schema": b"3"})
    with pytest.raises(StorageError, match="newer sam-batch: its schema is 3, this one reads up to 2"):
        schema.read_part(schema.part_bytes(newer))


@settings(max_examples=30)
@given(st.lists(results, max_size=3), st.lists(st.builds(StoredCandidate, annotations, st.integers(0, 4)), max_size=3))
def test_candidates_come_back_to_those_who_ask_for_them(given_results, candidates):
    with_them = [*given_results, replace(result_of("z.jpg", [], size=(4, 5)), candidates=tuple(candidates))]
    part = schema.part_bytes(schema.results_to_table(with_them, METADATA, candidates=True))
    assert schema.read_part(part).schema.equals(schema.ANNOTATION_SCHEMA)
    again = schema.table_to_results(schema.read_part(part, schema.CANDIDATE_SCHEMA))
    assert again == [without_size(result) for result in with_them]


def test_a_part_without_candidates_is_read_as_keeping_none():
    part = schema.part_bytes(schema.results_to_table([result_of("a.jpg", random_masks(8, 8, 2))], METADATA))
    (result,) = schema.table_to_results(schema.read_part(part, schema.CANDIDATE_SCHEMA))
    assert result.candidates is None


@given(st.lists(refs, max_size=5))
def test_a_plan_comes_back_as_it_was(planned):
    rows = [
        {
            "shard": 0,
            **{name: getattr(ref, name) for name in ("image_id", "key", "uri", "size", "prompts")},
            "modified": "then",
        }
        for ref in planned
    ]
    table = pa.Table.from_pylist(rows, schema.PLAN_SCHEMA)
    assert schema.read_part(schema.part_bytes(table), schema.PLAN_SCHEMA).to_pylist() == rows


@given(st.lists(st.tuples(results, st.binary(max_size=20)), max_size=4))
def test_segmented_images_keep_their_bytes(pairs):
    table = schema.segmented_to_table(pairs)
    assert table.schema.equals(schema.SEGMENTED_SCHEMA)
    assert schema.table_to_segmented(table) == [(without_size(result), data) for result, data in pairs]


@given(st.lists(loaded_images | failed_results, max_size=4), st.integers(0, 4))
def test_loaded_images_come_back_with_equal_pixels_also_from_slices(images, start):
    table = schema.loaded_to_table(images)
    assert table.schema.equals(schema.LOADED_SCHEMA)
    again = schema.table_to_loaded(pa.concat_tables([table[:start], table[start:]]))
    assert len(again) == len(images)
    for before, after in zip(images, again, strict=True):
        assert_same(before, after)


def assert_same(before, after):
    if isinstance(before, ImageResult):
        assert after == before
        return
    assert isinstance(after, LoadedImage)
    assert replace(after, views=()) == replace(before, views=())
    assert [(view.box, view.layer) for view in after.views] == [(view.box, view.layer) for view in before.views]
    for view, original in zip(after.views, before.views, strict=True):
        np.testing.assert_array_equal(view.pixels, original.pixels)


def test_an_image_as_a_plans_row_keeps_its_prompts():
    ref = schema.ImageRef(3, "a", "a", None, (Prompt(box=(1.0, 2.0, 3.0, 4.0), prompt_id="7"),))
    for one in (ref, replace(ref, prompts=None), replace(ref, prompts=())):
        row = schema.plan_row(one)
        assert row.schema.equals(schema.PLAN_SCHEMA)
        assert schema.refs(row) == [one]


def test_pixels_of_views_are_not_copied_out_of_the_table():
    view = schema.View((0, 0, 4, 4), np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    table = schema.loaded_to_table([LoadedImage(schema.ImageRef(0, "a", "a"), 4, 4, "", b"", (view,))])
    values = table.column("views").chunk(0).values.field("pixels").buffers()[2]
    (again,) = schema.table_to_loaded(table)
    assert again.views[0].pixels.__array_interface__["data"][0] == values.address


def test_other_columns_may_stand_beside():
    table = schema.results_to_table([failed("a.jpg")], {})
    wider = table.append_column("shard", pa.array([7]))
    assert schema.table_to_results(wider) == schema.table_to_results(table)


def test_images_without_masks_have_an_empty_list_and_not_null():
    table = schema.results_to_table([result_of("a.jpg", [], size=(4, 5)), failed("b.jpg")], {})
    assert table.column("masks").null_count == 0
    assert table.column("masks").to_pylist() == [[], []]
    assert table.column("error").to_pylist() == [
        None,
        {"stage": "load", "kind": "truncated", "message": "JPEG: image file is truncated"},
    ]


def test_a_message_that_is_not_utf8_is_escaped():
    bad = ImageResult.failed(
        schema.ImageRef(0, "a", "a"), Failure(Stage.LOAD, FailureKind.CORRUPT, "name \udcff of a file")
    )
    (again,) = schema.table_to_results(schema.results_to_table([bad], {}))
    assert again.failure.message == "name \\udcff of a file"


def test_the_metadata_is_in_the_file_whatever_its_order():
    rows = [result_of("a.jpg", random_masks(20, 30, 5))]
    forward = schema.part_bytes(schema.results_to_table(rows, METADATA))
    backward = schema.part_bytes(schema.results_to_table(rows, dict(reversed(METADATA.items()))))
    assert forward == backward
    assert schema.part_metadata(schema.read_part(forward)) == METADATA


def test_the_bytes_do_not_depend_on_how_the_table_was_put_together():
    whole = schema.results_to_table([failed("a.jpg"), result_of("b.jpg", random_masks(20, 30, 5))], METADATA)
    pieces = pa.concat_tables([whole[:1], whole[1:]])
    assert schema.part_bytes(pieces) == schema.part_bytes(whole)


_PART = """
import hashlib
from sam_batch.output.schema import part_bytes, results_to_table
from support.results import failed, random_masks, result_of
rows = [result_of("a.jpg", random_masks(40, 60, 20), 0), failed("b.jpg", 1)]
print(hashlib.sha256(part_bytes(results_to_table(rows, {"model": "demo"}))).hexdigest())
"""


def test_another_process_writes_the_same_bytes(pytestconfig):
    runs = [
        subprocess.run(
            [sys.executable, "-c", _PART],
            env={"PYTHONPATH": str(pytestconfig.rootpath / "tests"), "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[: len(data) // 2]])
def test_a_damaged_part_says_so(damage):
    data = schema.part_bytes(schema.results_to_table([failed("a.jpg")], {}))
    with pytest.raises(StorageError, match="damaged Parquet"):
        schema.read_part(damage(data))


def test_a_part_with_other_columns_is_refused():
    with pytest.raises(StorageError, match="it has the columns shard, image_id"):
        schema.read_part(schema.part_bytes(schema.PLAN_SCHEMA.empty_table()))


def test_plain_parquet_readers_see_the_documented_types():
    data = schema.part_bytes(schema.results_to_table([result_of("a.jpg", random_masks(9, 9, 2))], {}))
    columns = {column.path: column.physical_type for column in map(pq_column(data), range(22)) if column}
    assert columns["masks.list.element.predicted_iou"] == "FLOAT"
    assert columns["masks.list.element.counts"] == "BYTE_ARRAY"
    assert columns["masks.list.element.bbox.list.element"] == "DOUBLE"
    assert columns["image_id"] == "INT64"


def pq_column(data):
    columns = pq.ParquetFile(pa.BufferReader(data)).schema
    return lambda index: columns.column(index) if index < len(columns) else None
