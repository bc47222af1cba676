import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_batch.data.storage import Entry
from sam_batch.prompts.matching import AmbiguousError, Names, ends_with

folders = st.lists(st.sampled_from("ab"), max_size=3)
keys = st.lists(folders.map(lambda parts: "/".join([*parts, "x.jpg"])), max_size=6, unique=True)


def names(*found, root="/d/images"):
    return Names([Entry(key, f"{root}/{key}") for key in found])


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("b/a.jpg", 1),
        ("./b/a.jpg", 1),
        ("b\\a.jpg", 1),
        ("c.jpg", 2),
        ("images/t/c.jpg", 2),
        ("/home/me/t/c.jpg", 2),
        ("https://example.org/t/c.jpg", 2),
        ("other/c.jpg", None),
        ("C.jpg", None),
        ("c.png", None),
        ("jpg", None),
        ("", None),
    ],
)
def test_a_name_means_a_key_or_what_ends_alike(name, place):
    match = names("a.jpg", "b/a.jpg", "t/c.jpg").find(name)
    assert (match and match.place) == place


def test_a_key_wins_over_what_ends_alike():
    assert names("a.jpg", "b/a.jpg").find("a.jpg").place == 0


def test_the_longest_of_the_keys_that_a_name_ends_with_wins():
    assert names("c.jpg", "t/c.jpg").find("/home/me/t/c.jpg").place == 1


def test_two_that_end_alike_are_refused_by_name():
    with pytest.raises(AmbiguousError, match=r"'a\.jpg' may be 'b/a\.jpg' or 'c/a\.jpg'"):
        names("b/a.jpg", "c/a.jpg").find("a.jpg")


@pytest.mark.parametrize(("name", "place"), [("a", 0), ("d/images/t/b.c", 1), ("b.c", 1), ("b", None)])
def test_a_stem_has_no_extension(name, place):
    match = names("a.jpg", "t/b.c.png").find(name, is_stem=True)
    assert (match and match.place) == place


def test_one_stem_of_two_images_is_refused():
    with pytest.raises(AmbiguousError, match=r"'a\.jpg' or 'a\.png'"):
        names("a.jpg", "a.png").find("a", is_stem=True)


@given(keys, folders)
def test_what_is_found_ends_as_the_name_does_or_the_name_as_it(found, parts):
    name = "/".join([*parts, "x.jpg"])
    try:
        match = names(*found, root="").find(name)
    except AmbiguousError:
        return
    if match is None:
        assert not any(ends_with(key, name) or ends_with(name, key) for key in found)
    else:
        assert ends_with(found[match.place], name) or ends_with(name, found[match.place])
