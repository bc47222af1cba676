"""What a listing asks on its way, where a store knows names and no folders."""

import errno

import pytest

from sam_batch.data.walk import Walk


class Careful(Walk):
    """Enters no folder called b, and remembers what it was asked."""

    def __init__(self, start: str = "") -> None:
        super().__init__(start=start)
        self.asked: list[str] = []

    def enters(self, folder: str) -> bool:
        self.asked.append(folder)
        return not folder.endswith("b")


def test_a_name_is_reached_when_every_folder_above_it_is_entered() -> None:
    walk = Careful()
    names = ["x", "a/x", "a/b/x", "a/b/c/x", "a/b/c/y", "b/x"]
    assert [name for name in names if walk.reaches(name)] == ["x", "a/x"]
    assert walk.asked == ["a", "a/b", "b"]


def test_the_folder_in_which_it_begins_is_entered() -> None:
    assert Careful(start="b").reaches("b/x")
    assert Walk(recursive=False, start="b").reaches("b/x")
    assert not Walk(recursive=False, start="b").reaches("b/c/x")


def test_what_is_gone_is_passed_over_and_other_failures_are_raised() -> None:
    Walk().fails("a", FileNotFoundError(errno.ENOENT, "gone"))
    with pytest.raises(PermissionError):
        Walk().fails("a", PermissionError(errno.EACCES, "no"))
