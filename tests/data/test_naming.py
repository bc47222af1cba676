"""Names that a storage does not take, or does not tell apart."""

import pytest

from sam_batch.data.naming import Naming

NAMES = ["a/Case.jpg", "a/case.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg", "a:b.jpg", "a\tb.jpg", "dot./c.jpg", "L" * 200]


def test_where_all_names_are_taken_nothing_is_found() -> None:
    assert not list(Naming().unusable(NAMES))
    assert not list(Naming().clashes(NAMES))


@pytest.mark.parametrize(
    ("naming", "pairs"),
    [
        (Naming(ignores_case=True), [("a/Case.jpg", "a/case.jpg"), ("caf\u00e9.jpg", "cafe\u0301.jpg")]),
        (Naming(ignores_form=True), [("caf\u00e9.jpg", "cafe\u0301.jpg")]),
    ],
)
def test_names_that_become_one_are_found(naming: Naming, pairs: list[tuple[str, str]]) -> None:
    assert list(naming.clashes(NAMES)) == pairs


@pytest.mark.parametrize(
    ("naming", "name", "reason"),
    [
        (Naming(refused=":?"), "a:b.jpg", "no name may hold :"),
        (Naming(refused="\t"), "a\tb.jpg", r"no name may hold '\t'"),
        (Naming(trims=True), "dot./c.jpg", "no name may end in a dot or blank"),
        (Naming(longest=143), "L" * 200, "no name may have more than 143 bytes"),
    ],
)
def test_names_that_are_not_taken_are_found_with_the_reason(naming: Naming, name: str, reason: str) -> None:
    assert list(naming.unusable(NAMES)) == [(name, reason)]
