"""The plan never changes what it has; it only grows."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.jobs import job_config

from sam_batch.config import StorageConfig
from sam_batch.data.storage import Entry, Storage
from sam_batch.errors import AlreadyExistsError, OutputError
from sam_batch.job.pack import pack
from sam_batch.output import plan as plans
from sam_batch.output import schema
from sam_batch.output.changes import Change, State

KEYS = st.lists(st.text(min_size=1, max_size=5), unique=True, max_size=20)


def entries(keys):
    return [Entry(key, f"/photos/{key}", 10) for key in keys]


def grown(plan, keys, shard_size=3):
    known = set(plan.rows["key"].to_pylist()) if plan else set()
    rows = plans.extend(plan, entries(key for key in keys if key not in known), shard_size)
    return plans.Plan(plan.rows + rows if plan else rows, {}, 1)


@given(KEYS, KEYS, st.integers(1, 5))
def test_a_later_listing_adds_shards_and_changes_none(first, second, shard_size):
    before = grown(None, first, shard_size)
    after = grown(before, second, shard_size)
    assert after.rows.slice(0, len(before)).equals(before.rows.read())
    assert after.rows["image_id"].to_pylist() == list(range(len(after)))
    assert sorted(after.rows["key"].to_pylist()) == sorted({*first, *second})


@given(KEYS, KEYS, st.integers(1, 5))
def test_shards_hold_every_image_once_in_order(first, second, shard_size):
    plan = grown(grown(None, first, shard_size), second, shard_size)
    shards = list(plan.shards(set(range(plan.shard_count))))
    assert [row for shard in shards for row in shard["image_id"].to_pylist()] == list(range(len(plan)))
    assert all(len(set(shard["shard"].to_pylist())) == 1 <= shard.num_rows <= shard_size for shard in shards)
    assert len(shards) == plan.shard_count


@pytest.mark.parametrize(("layers", "images"), [(0, 85), (1, 17), (2, 4), (3, 1), (4, 1)])
def test_crops_make_shards_smaller_and_never_larger_than_asked_for(layers, images):
    def cut(shard_size):
        sections = {"generator": {"points_per_side": 32, "crop_n_layers": layers}, "run": {"shard_size": shard_size}}
        return plans.images_per_shard(job_config("in", "out", model={"name": "vit_h"}, **sections), 10_000)

    assert [cut(1000), cut(2)] == [images, min(2, images)]


@pytest.mark.parametrize(
    ("executor", "images", "size"),
    [("ray", 4, 1), ("ray", 200, 6), ("ray", 10**6, 32), ("inline", 4, 1), ("inline", 10**6, 4)],
)
def test_where_nobody_says_otherwise_small_jobs_and_plain_loops_have_small_shards(executor, images, size):
    config = job_config("in", "out", run={"executor": executor, "shard_size": "auto"})
    assert plans.images_per_shard(config, images) == size


def test_only_the_wanted_shards_are_given():
    plan = grown(None, "abcdefgh")
    assert [shard["shard"][0].as_py() for shard in plan.shards({0, 2})] == [0, 2]
    assert plan.image_count({0, 2}) == 5


def test_a_stored_plan_reads_back(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    assert plans.read_plan(storage) is None
    first = plans.store(storage, None, plans.extend(None, entries("ab"), 1), {"a": "1"})
    second = plans.store(storage, first, plans.extend(first, entries("abc"), 1), {"a": "1"})
    read = plans.read_plan(storage)
    assert read.rows.equals(second.rows)
    assert (read.fingerprint, read.parts) == ({"a": "1"}, 2)


def test_a_long_plan_has_the_bytes_of_a_table_that_is_written_at_once(monkeypatch):
    monkeypatch.setattr(plans, "GROUP_ROWS", 4)
    rows, metadata = plans.extend(None, entries("abcdefghij"), 3), {plans.FINGERPRINT: b'{"a": "1"}'}
    whole, sink = rows.read().combine_chunks().replace_schema_metadata(metadata), pa.BufferOutputStream()
    pq.write_table(whole, sink, compression="zstd", use_dictionary=False, row_group_size=4)
    assert plans._part_bytes(rows, {"a": "1"}) == sink.getvalue().to_pybytes()


def test_a_shard_of_a_new_plan_weighs_what_its_rows_do():
    plan = plans.Plan(plans.extend(None, entries(f"{number:05d}" for number in range(9000)), 32), {}, 1)
    assert pack(next(plan.shards({1}))).nbytes < 10_000


def test_shards_of_images_and_images_of_shards_that_count(tmp_path):
    plan = replace(
        grown(None, "abcdefgh"), changes={3: Change(State.GONE, 1, None), 5: Change(State.REPLACED, 1, None)}
    )
    assert [row["key"] for block in plan.counted_blocks() for row in block.to_pylist()] == [*"abceg", "h"]
    assert (plan.shard_of([2, 3, 7]), plan.image_count({0, 1}), plan.in_order({2, 0})) == ({0, 1, 2}, 4, [0, 2])


def test_a_plan_is_stored_once(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    rows = plans.extend(None, entries("ab"), 1)
    plans.store(storage, None, rows, {})
    with pytest.raises(AlreadyExistsError):
        plans.store(storage, None, rows, {})


def test_a_new_plan_takes_the_place_of_the_old(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    plans.store(storage, None, plans.extend(None, entries("ab"), 1), {"a": "1"})
    plans.replace_plan(storage, plans.Plan(plans.extend(None, entries("c"), 1), {"a": "2"}, 1))
    read = plans.read_plan(storage)
    assert (read.rows["key"].to_pylist(), read.fingerprint, read.parts) == (["c"], {"a": "2"}, 1)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("part-00001.parquet", b"mine", "damaged Parquet"),
        ("part-00002.parquet", b"mine", "those before it are missing"),
        ("part-00001.parquet", schema.part_bytes(schema.results_to_table([], {})), "it has the columns image_id"),
        ("part-00001.parquet", schema.part_bytes(plans.extend(None, [], 1).read()), "does not say for which settings"),
        ("part-00001.parquet", plans._part_bytes(plans.extend(None, entries("b"), 1), {"a": "2"}), "of another plan"),
    ],
)
def test_a_file_that_is_no_part_of_the_plan_is_refused_by_name(tmp_path, name, content, reason):
    storage = Storage(str(tmp_path), StorageConfig())
    plans.store(storage, None, plans.extend(None, entries("a"), 1), {"a": "1"})
    storage.write(f"plan/{name}", content)
    with pytest.raises(OutputError, match=f"plan/{name} is no part of a job's plan: .*{reason}.*; move it away"):
        plans.read_plan(storage)


def test_other_files_beside_the_plan_are_passed_over(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    for name in ("notes.txt", "part-0.parquet", "old/part-00000.parquet"):
        storage.write(f"plan/{name}", b"mine")
    assert plans.read_plan(storage) is None


def test_done_shards_are_the_parts_that_exist(tmp_path):
    storage = Storage(str(tmp_path), StorageConfig())
    for name in (
        "part-00003.parquet",
        "part-100000.parquet",
        "part-1.parquet",
        "sub/part-00004.parquet",
        "other.parquet",
    ):
        storage.write(f"annotations/{name}", b"x")
    assert plans.committed_shards(storage) == {3, 100000}
