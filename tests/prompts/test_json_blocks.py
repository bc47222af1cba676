import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.errors import ConfigError
from sam_batch.prompts.json_blocks import json_blocks, json_values

texts = st.text(st.sampled_from('aN"\\,: é') | st.characters(exclude_categories=("Cs",)), max_size=8)
texts |= st.sampled_from(["NaN", "a NaN, b", '"NaN', "-Infinity", "\\"])
numbers = st.floats() | st.just(math.nan)
values = st.recursive(
    numbers | texts | st.none(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3)
)


def without_nan(value):
    if isinstance(value, list):
        return [without_nan(one) for one in value]
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(values, st.integers(1, 30), st.booleans())
def test_numbers_that_json_has_not_become_null_and_nothing_else_changes(value, size, ascii_):
    data = json.dumps([value], ensure_ascii=ascii_).encode()
    cleaned = b"".join(json_blocks(io.BufferedReader(io.BytesIO(data)), size))
    assert json.loads(cleaned) == [without_nan(value)]


def test_values_come_in_the_order_of_the_file_however_it_is_cut():
    blocks = [bytes([one]) for one in b'{"a": [1, {"b": 0.1}], "c": {"d": 2}}']
    assert list(json_values(blocks, ["c", "a.item"], "x")) == [("a.item", 1), ("a.item", {"b": 0.1}), ("c", {"d": 2})]
    with pytest.raises(ConfigError, match="x: is no JSON in UTF-8 after line 1"):
        list(json_values(blocks[:-1], ["a.item"], "x"))
