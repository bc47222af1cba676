"""A listing is compared with what is planned and with what is known of it since."""

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data.entries import Entries
from sam_batch.data.packed import PackedTable
from sam_batch.data.storage import Entry
from sam_batch.output import changes as planned_changes
from sam_batch.output.changes import SCHEMA, Change, State, from_table, moved, retired, to_table
from sam_batch.output.schema import PLAN_SCHEMA

entries = st.builds(
    Entry,
    key=st.sampled_from(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "é.jpg"]),
    uri=st.sampled_from(["/in/1", "/in/2"]),
    size=st.none() | st.integers(0, 3),
    modified=st.none() | st.sampled_from(["x", "y"]),
)
TEXTS = st.none() | st.text(max_size=9)
listings = st.lists(entries, max_size=5, unique_by=lambda entry: entry.key)


def entry(key, size=1, modified="x"):
    return Entry(key, f"/in/{key}", size, modified)


def plan_of(images):
    columns = {"shard": [0] * len(images), "image_id": range(len(images))}
    columns |= {name: [getattr(image, name) for image in images] for name in ("key", "uri", "size", "modified")}
    return PackedTable.of(pa.Table.from_pylist(pa.table(columns).to_pylist(), PLAN_SCHEMA))


def compare(rows, changes, listed, *, whole):
    return planned_changes.compare(rows, changes, in_order(listed), whole=whole)


def in_order(listed):
    return Entries.of(sorted(listed, key=lambda image: image.key))


PLANNED = [entry("a.jpg"), entry("b.jpg"), entry("c.jpg")]


def test_what_is_as_it_was_is_no_difference():
    assert not any(compare(plan_of(PLANNED), {}, PLANNED, whole=True))


@pytest.mark.parametrize("other", [{"size": 2}, {"modified": "y"}, {"uri": "/elsewhere"}], ids=str)
def test_another_size_time_or_address_is_one(other):
    now = replace(PLANNED[1], **other)
    difference = compare(plan_of(PLANNED), {}, [PLANNED[0], now, PLANNED[2]], whole=True)
    assert difference == ([], [(1, now)], [], [])


@pytest.mark.parametrize("unknown", [{"size": None}, {"modified": None}], ids=str)
def test_what_either_side_does_not_know_is_none(unknown):
    fewer = [replace(image, **unknown) for image in PLANNED]
    assert not any(compare(plan_of(PLANNED), {}, fewer, whole=True))
    assert not any(compare(plan_of(fewer), {}, PLANNED, whole=True))


def test_new_and_gone_images_are_told_apart():
    difference = compare(plan_of(PLANNED), {}, [PLANNED[0], PLANNED[2], entry("d.jpg")], whole=True)
    assert difference == ([entry("d.jpg")], [], [], [1])


def test_nothing_is_gone_from_a_listing_that_is_cut_short():
    assert compare(plan_of(PLANNED), {}, PLANNED[:1], whole=False).gone == []


def test_an_image_that_is_gone_is_so_once_and_may_come_back():
    gone = {1: Change(State.GONE, 1, "x")}
    without = [PLANNED[0], PLANNED[2]]
    assert not any(compare(plan_of(PLANNED), gone, without, whole=True))
    assert compare(plan_of(PLANNED), gone, PLANNED, whole=True) == ([], [], [(1, PLANNED[1])], [])


def test_of_a_replaced_image_the_row_that_took_its_place_counts():
    again = replace(PLANNED[1], size=2)
    rows, replaced = plan_of([*PLANNED, again]), {1: Change(State.REPLACED, 1, "x")}
    assert not any(compare(rows, replaced, [PLANNED[0], again, PLANNED[2]], whole=True))
    assert compare(rows, replaced, PLANNED, whole=True).touched == [(3, PLANNED[1])]


def test_a_change_that_was_looked_into_is_not_looked_into_again():
    touched = replace(PLANNED[1], modified="y")
    same = {1: Change(State.SAME, 1, "y")}
    assert not any(compare(plan_of(PLANNED), same, [PLANNED[0], touched, PLANNED[2]], whole=True))


def test_a_move_that_was_looked_into_is_not_looked_into_again():
    elsewhere = replace(PLANNED[1], uri="/elsewhere/b.jpg")
    same = {1: Change(State.SAME, 1, "x", elsewhere.uri)}
    assert not any(compare(plan_of(PLANNED), same, [PLANNED[0], elsewhere, PLANNED[2]], whole=True))
    assert moved(same).to_pylist() == [{"image_id": 1, "address": elsewhere.uri}]


def test_gone_and_replaced_images_count_nowhere():
    changes = {0: Change(State.GONE, 1, None), 1: Change(State.SAME, 1, None), 2: Change(State.REPLACED, 1, None)}
    assert retired(changes) == [0, 2]


@given(planned=listings, listed=listings)
def test_every_image_is_new_gone_touched_or_the_same(planned, listed):
    difference = compare(plan_of(planned), {}, listed, whole=True)
    assert {image.key for image in difference.new} == {e.key for e in listed} - {e.key for e in planned}
    assert {planned[i].key for i in difference.gone} == {e.key for e in planned} - {e.key for e in listed}
    assert all(planned[i].key == image.key and planned[i] != image for i, image in difference.touched)
    assert difference.back == []


@given(
    st.dictionaries(
        st.integers(0, 2**62),
        st.builds(Change, st.sampled_from(State), st.none() | st.integers(0, 2**62), TEXTS, TEXTS),
        max_size=5,
    )
)
def test_changes_survive_the_table(changes):
    table = to_table(changes)
    assert table.schema == SCHEMA
    assert from_table(table) == changes
