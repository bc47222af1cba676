"""Singular and plural."""

import pytest

from sam_batch.wording import counted


@pytest.mark.parametrize(("count", "words"), [(0, "0 images"), (1, "1 image"), (2, "2 images")])
def test_one_is_singular(count, words):
    assert counted(count, "image") == words
