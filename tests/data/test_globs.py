"""Patterns of names, with braces as shells have them."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data.globs import Globs, expand, split
from sam_batch.errors import InputError


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.jpg", ["a.jpg"]),
        ("{a,b}.{jpg,png}", ["a.jpg", "b.jpg", "a.png", "b.png"]),
        ("x{,y}", ["x", "xy"]),
        ("{a,b{1,2}}", ["a", "b1", "a", "b2"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{a}{}{a..c}", ["{a}{}{a..c}"]),
        ("{a,b", ["{a,b"]),
    ],
)
def test_braces_are_expanded(pattern: str, expected: list[str]) -> None:
    assert sorted(expand(pattern)) == sorted(expected)


@pytest.mark.parametrize("pattern", ["s-{000..012}.tar", "{a,b}/{1..3}/{x,y{0,1}}", "{10..7}", "{1..03}", "p{a,}q"])
def test_braces_stand_for_what_a_shell_makes_of_them(pattern: str) -> None:
    shell = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)
    assert set(expand(pattern)) == set(shell.stdout.split())


def test_braces_that_stand_for_too_much_are_refused() -> None:
    with pytest.raises(InputError, match="more than 100000 names"):
        expand("{0..999999999999}")


@pytest.mark.parametrize(
    ("uri", "folder", "pattern"),
    [
        ("photos/*.jpg", "photos/", "*.jpg"),
        ("s3://b/{train,val}/a?.jpg", "s3://b/", "{train,val}/a?.jpg"),
        ("*.jpg", ".", "*.jpg"),
        ("photos/{a}/b", "photos/{a}/b", ""),
        ("/a/b.jpg", "/a/b.jpg", ""),
    ],
)
def test_a_pattern_begins_at_the_first_part_that_is_one(uri: str, folder: str, pattern: str) -> None:
    assert split(uri) == (folder, pattern)


@pytest.mark.parametrize(
    ("pattern", "into", "not_into"),
    [
        ("*.jpg", [], ["a", "a/b"]),
        ("a/*.jpg", ["a"], ["b", "a/b"]),
        ("**/x", ["a", "a/b"], []),
        ("a/**/x", ["a", "a/b", "a/b/c"], ["b", "b/a"]),
        ("{a,b}/c/1.jpg", ["a", "b", "a/c"], ["c", "a/b"]),
    ],
)
def test_folders_that_cannot_hold_a_match_are_known(pattern: str, into: list[str], not_into: list[str]) -> None:
    patterns = Globs([pattern])
    assert all(patterns.lead_into(folder) for folder in into)
    assert not any(patterns.lead_into(folder) for folder in not_into)


PART = st.text("ab*?", min_size=1, max_size=3)


@given(st.lists(PART, min_size=1, max_size=4), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_match_lies_in_folders_that_lead_to_it(pattern: list[str], name: list[str]) -> None:
    patterns = Globs(["/".join(pattern)])
    if patterns.match("/".join(name)):
        assert all(patterns.lead_into("/".join(name[:depth])) for depth in range(1, len(name)))


def test_names_and_recursion_are_known() -> None:
    assert Globs(["{1..3}.tar", "*.tar"]).names == {"1.tar", "2.tar", "3.tar"}
    assert Globs(["a/*"]).recursive
    assert Globs(["**"]).recursive
    assert not Globs(["*.jpg"]).recursive
