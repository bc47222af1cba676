"""What a section of the configuration is: closed, immutable, and made of keys that say what they do to results.

The sections themselves are declared in `sam_batch.config`; this module walks over any tree of them.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

T = TypeVar("T")


class Effect(Enum):
    """What a key does to results; each key says it of itself, and a test refuses one that does not."""

    SHAPES = "shapes"  # another value gives other results: part of the fingerprint
    RESOLVED = "resolved"  # what it resolves to is in the fingerprint instead, under a name of its own
    NEUTRAL = "neutral"  # may differ between two runs into one output


Shapes: TypeAlias = Annotated[T, Effect.SHAPES]
Resolved: TypeAlias = Annotated[T, Effect.RESOLVED]
Neutral: TypeAlias = Annotated[T, Effect.NEUTRAL]

UnitInterval = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A part of the configuration: immutable, and closed to names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, values: Any) -> Any:
        return {} if values is None else values  # a section whose keys are all commented out


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a section and those below it, as (dotted path, pydantic field), sections before their keys."""
    for name, field in section.model_fields.items():
        yield prefix + name, field
        below = subsection(section, name)
        if below is not None:
            yield from keys(below, f"{prefix}{name}.")


def subsection(section: type[BaseModel], name: str) -> type[Section] | None:
    """The section of this name in another, if it is one."""
    field = section.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def types(annotation: Any) -> Iterator[Any]:
    """The types that a key may have, such as `tuple[str, ...]`, without what bounds them."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from types(inner[0])
    elif origin in (Union, UnionType):
        for type_ in inner:
            yield from types(type_)
    else:
        yield annotation


def kinds(annotation: Any) -> Iterator[type]:
    """The classes that a key's values may have, such as `tuple`."""
    for type_ in types(annotation):
        if get_origin(type_) is Literal:
            yield from map(type, get_args(type_))
        else:
            yield get_origin(type_) or type_


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree's leaves by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
