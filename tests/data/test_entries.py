"""Entries are gathered in runs, and come out sorted and each once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data import entries as module
from sam_batch.data.entries import Entries, gathered
from sam_batch.data.storage import Entry
from sam_batch.errors import InputError

ENTRIES = st.lists(
    st.builds(
        Entry,
        key=st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        uri=st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        size=st.none() | st.integers(0, 9),
        modified=st.none() | st.just("x"),
    ),
    max_size=20,
)


@pytest.fixture(autouse=True, scope="module")
def _short_runs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._tables, "__defaults__", (None, 3))
        yield


@given(ENTRIES, st.integers(0, 20), st.integers(0, 20))
def test_entries_are_a_sequence(listed, start, stop):
    stored = Entries.of(listed)
    assert (list(stored), len(stored)) == (listed, len(listed))
    assert stored[start:stop] == listed[start:stop]
    assert [stored[place] for place in range(-len(listed), len(listed))] == [*listed, *listed]
    sizes = [entry.size for entry in listed if entry.size is not None]
    assert stored.bytes_known() == (sum(sizes), len(sizes))


@given(ENTRIES)
def test_each_uri_is_listed_once_under_its_first_key_in_code_point_order(listed):
    first = {}
    for entry in listed:
        first.setdefault(entry.uri, entry)
    expected = sorted(first.values(), key=lambda entry: entry.key)
    if len({entry.key for entry in expected}) < len(expected):
        with pytest.raises(InputError, match="would both be named"):
            gathered(listed)
    else:
        assert gathered(listed) == expected


def test_progress_is_told_on_the_way():
    told = []
    gathered((Entry(f"{number:05d}", f"/{number}") for number in range(3000)), told.append)
    assert told == [1024, 2048]
