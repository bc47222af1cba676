"""Walking over sections and their keys, and what each key of the configuration says of itself."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from sam_batch.config import Config
from sam_batch.section import Effect, Neutral, Section, Shapes, flatten, keys, kinds, subsection


class Inner(Section):
    width: Shapes[int] = 1


class Outer(Section):
    inner: Inner = Field(default_factory=Inner)
    name: Neutral[str | None] = None


@pytest.mark.parametrize(("key", "field"), [pytest.param(*pair, id=pair[0]) for pair in keys(Config)])
def test_every_key_says_what_it_does_to_results(key, field):
    is_section = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    effects = [mark for mark in field.metadata if isinstance(mark, Effect)]
    assert len(effects) == (0 if is_section else 1)


def test_keys_come_as_dotted_paths_with_sections_before_what_is_in_them():
    assert [path for path, _ in keys(Outer)] == ["inner", "inner.width", "name"]


def test_a_subsection_is_told_from_a_plain_key():
    assert subsection(Outer, "inner") is Inner
    assert subsection(Outer, "name") is None
    assert subsection(Outer, "unknown") is None


def test_the_kinds_of_a_key_are_the_classes_of_its_values():
    assert list(kinds(Annotated[tuple[int, ...] | Literal["auto"] | None, Field()])) == [tuple, str, type(None)]


def test_an_empty_section_has_its_defaults():
    assert Outer.model_validate({"inner": None}) == Outer()


def test_a_tree_has_its_leaves_under_dotted_keys():
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}
