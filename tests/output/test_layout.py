"""Names of parts, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.output import layout


@given(st.integers(0, 10**9))
def test_a_parts_name_says_its_number(number):
    assert layout.part_number(layout.part_key(layout.ANNOTATIONS, number)) == number


@pytest.mark.parametrize("key", ["part-1.parquet.tmp", "part-.parquet", "notes.txt", "part-1.json", "xpart-1.parquet"])
def test_other_files_are_no_parts(key):
    assert layout.part_number(f"annotations/{key}") is None


def test_parts_sort_by_number():
    keys = [layout.part_key(layout.PLAN, number) for number in (0, 9, 10, 12345)]
    assert keys == sorted(keys)
