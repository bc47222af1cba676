"""Names of parts, there and back; names of pictures that never meet."""

import string

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sam_batch.output import layout


@given(st.integers(0, 10**9))
def test_a_parts_name_says_its_number(number):
    assert layout.part_number(layout.part_key(layout.ANNOTATIONS, number)) == number


@given(st.integers(0, 10**9))
def test_so_does_the_name_of_its_metrics(number):
    assert layout.part_number(layout.metrics_key(number)) == number


@pytest.mark.parametrize(
    "key",
    ["annotations/part-00001.parquet.tmp", "annotations/part-.parquet", "plan/notes.txt", "annotations/part-00001.json",
     "annotations/xpart-00001.parquet", "annotations/part-1.parquet", "plan/part-000001.parquet",
     "annotations/sub/part-00001.parquet", "metrics/part-00001.parquet", "part-00001.parquet"],
)  # fmt: skip
def test_names_that_no_part_has_are_no_parts(key):
    assert layout.part_number(key) is None


@given(st.text(min_size=1), st.integers(0, 10**6))
def test_a_cut_outs_name_says_its_folder(key, mask_id):
    assert layout.cutout_folder(layout.cutout_name(key, mask_id)) == layout.cutouts_name(key)


@pytest.mark.parametrize("name", ["0.png", "a/x.png", "a/00.png", "a/1.jpg", "a/1.png/b", "/1.png", "a/-1.png"])
def test_other_names_are_no_cut_outs(name):
    assert layout.cutout_folder(name) is None


def test_parts_sort_by_number():
    keys = [layout.part_key(layout.PLAN, number) for number in (0, 9, 10, 12345)]
    assert keys == sorted(keys)


@pytest.mark.parametrize("key", ["a.jpg", "b/a.jpg", "A b/ü#%*[1]?.png", "v1.2/x~y.tif", "..a/b..jpg", "~/-rf.jpg"])
def test_usual_keys_are_their_own_names(key):
    assert layout.output_name(key, ".png") == f"{key}.png"


@given(
    st.lists(st.text() | st.text("ab0_-./ ~", max_size=9) | st.text("a/", min_size=190, max_size=210)),
    st.sampled_from(["", ".png"]),
)
def test_many_names_are_those_of_each(keys, suffix):
    names = layout.output_names(pa.chunked_array([keys], pa.string()), suffix).to_pylist()
    assert names == [layout.output_name(key, suffix) for key in keys]


_COMPONENTS = st.one_of(
    st.sampled_from(
        ["", ".", "..", "a", "a.jpg", "a.jpg.png", "a.PNG", "0.png", "a\n", "a\0", "\ud800", "x" * 255, "é" * 130]
    ),
    st.text(st.characters(codec=None), max_size=4),
    st.text(string.ascii_letters + ".~/\\", max_size=300),
)
_KEYS = st.builds(
    lambda folders, file, extension: "/".join([*folders, file + extension]),
    st.lists(_COMPONENTS, max_size=5),
    _COMPONENTS,
    st.sampled_from([".jpg", ".png", ".TIFF"]),
)
_SUFFIXES = st.sampled_from([".png", ""])


@given(_KEYS, _SUFFIXES)
def test_any_key_has_a_usable_name(key, suffix):
    name = layout.output_name(key, suffix)
    parts = name.split("/")
    assert {"", ".", ".."}.isdisjoint(parts)
    assert all(len(part.encode()) <= 255 for part in parts)
    assert len(name.encode()) <= 800
    assert name.endswith(suffix)
    assert not any(ord(letter) < 32 for letter in name)


@given(_KEYS, _KEYS, _SUFFIXES)
def test_different_keys_have_names_that_do_not_meet(first, second, suffix):
    """Neither is the other's name, nor a folder on its way."""
    assume(first != second)
    one, other = layout.output_name(first, suffix), layout.output_name(second, suffix)
    assert one != other
    assert not one.startswith(f"{other}/")
    assert not other.startswith(f"{one}/")


@given(_KEYS, _SUFFIXES)
def test_a_key_made_of_anothers_name_does_not_meet_it(key, suffix):
    name = layout.output_name(key, suffix)
    imitation = name.removesuffix(suffix)
    assume(imitation != key)
    assert layout.output_name(imitation, suffix) != name


@given(_KEYS)
def test_a_picture_inside_a_folder_named_like_a_picture_does_not_meet_it(key):
    for suffix in (".png", ""):
        outer = layout.output_name(key, suffix)
        inner = layout.output_name(f"{key}{suffix}/0.png", suffix)
        assert not inner.startswith(f"{outer}/")
