"""Which names are images, and what is counted of the others; `test_listing` has whole folders."""

from collections import Counter

import pytest

from sam_batch.config import InputConfig
from sam_batch.data.readers import formats
from sam_batch.data.selection import LeftOut, Selection, extension_of


def select(*names: str, pattern: str = "", **options: object) -> tuple[list[str], LeftOut]:
    """The names that are taken out of a store that knows no folders."""
    left_out = LeftOut()
    selection = Selection(InputConfig(uri="photos", **options), left_out, "photos", pattern)
    return [name for name in names if selection.reaches(name) and selection.takes(name)], left_out


def test_each_name_counts_once_and_what_lies_in_a_passed_folder_not_at_all() -> None:
    taken, left_out = select("a.jpg", ".x/a.jpg", ".x/b.txt", "@eaDir/c.jpg", "d.txt", ".e.txt", "sub/../f.jpg")
    assert taken == ["a.jpg", "sub/../f.jpg"]
    assert left_out == LeftOut(by_extension=Counter({"txt": 1}), hidden=2, excluded=1)


def test_what_a_glob_does_not_mean_is_not_counted() -> None:
    taken, left_out = select("a/1.jpg", "a/1.txt", "b/2.txt", ".c/3.jpg", pattern="a/*.jpg")
    assert taken == ["a/1.jpg"]
    assert left_out == LeftOut()


def test_only_the_commonest_extensions_are_named() -> None:
    names = [f"{number}.{extension}" for extension in "abcdef" for number in range(ord(extension))]
    assert str(select(*names)[1]) == ("597 by extension (102 f, 101 e, 100 d, 99 c, ...; input.extensions)")


def test_what_is_read_by_an_extra_is_taken_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a.HEIC", "b.heif", "c.jpg", "d.avif")
    monkeypatch.setattr(formats, "find_spec", lambda package: object())
    assert select(*names) == (list(names), LeftOut())
    monkeypatch.setattr(formats, "find_spec", lambda package: None)
    taken, left_out = select(*names)
    assert taken == ["c.jpg", "d.avif"]
    assert "(1 heic: pip install 'sam-batch[heif]', 1 heif: pip install" in str(left_out)


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.JPG", "jpg"),
        ("a.tar.gz", "gz"),
        ("a", ""),
        ("a.b/c", ""),
        ("a.", ""),
        (".jpg", "jpg"),
        ("photo.jpg?w=1", "jpg?w=1"),
    ],
)
def test_an_extension_is_what_follows_the_last_dot(name: str, extension: str) -> None:
    assert extension_of(name) == extension
