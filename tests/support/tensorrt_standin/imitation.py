"""Held to the real class: what an imitation of one of the bindings' classes may have and take.

It has no member that the real class of this version lacks, takes the arguments that the real docstring names, with
their types, and lets nobody write what is read-only.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, ClassVar

from sam_batch.engine.tensorrt.flavour import CLASSIC, RTX, Flavour


def flavour_of(real: ModuleType) -> Flavour:
    """Which of the two libraries some bindings are of."""
    return RTX if hasattr(real, "ComputeCapability") else CLASSIC


class Imitation:
    """Of a class of the bindings; state has underscores, everything else is held to the real class."""

    real: ClassVar[ModuleType]
    of: ClassVar[str]

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in ("real", "of"):
            return object.__getattribute__(self, name)
        member = _member(self.of, name)
        value = object.__getattribute__(self, name)
        return value if isinstance(member, property) else _checked(self.of, member, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            member = _member(self.of, name)
            if not isinstance(member, property) or member.fset is None:
                raise AttributeError(f"{self.of}.{name} is read-only")
        object.__setattr__(self, name, value)


def _member(of: str, name: str) -> Any:
    try:
        return getattr(getattr(Imitation.real, of), name)
    except AttributeError:
        raise AttributeError(f"TensorRT {Imitation.real.__version__} has no {of}.{name}") from None


def _checked(of: str, member: Any, imitated: Callable[..., Any]) -> Callable[..., Any]:
    signatures = list(_signatures(member))
    assert signatures, f"{of}.{member.__name__} says nothing of its arguments"

    def call(*arguments: Any, **named: Any) -> Any:
        if not any(_fits(signature, arguments, named) for signature in signatures):
            raise TypeError(f"{of}.{member.__name__}{arguments}{named}: takes {' or '.join(map(str, signatures))}")
        return imitated(*arguments, **named)

    return call


def _signatures(member: Any) -> Iterator[inspect.Signature]:
    """Of each overload, from the docstring that pybind11 writes."""
    for line in (member.__doc__ or "").splitlines():
        found = re.match(rf"\s*(?:\d+\. )?{member.__name__}\((?!\*args)(.*)\) -> ", line)
        if found:
            yield inspect.Signature([_parameter(one) for one in _split(found[1])][1:])


def _split(text: str) -> list[str]:
    """At the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _parameter(text: str) -> inspect.Parameter:
    name, _, rest = text.strip().partition(":")
    annotation, equals, default = rest.partition(" = ")
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=default if equals else inspect.Parameter.empty,
        annotation=annotation.strip(),
    )


def _fits(signature: inspect.Signature, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    try:
        bound = signature.bind(*arguments, **named)
    except TypeError:
        return False
    return all(_is_a(value, signature.parameters[name].annotation) for name, value in bound.arguments.items())


def _is_a(value: Any, annotation: str) -> bool:
    short = re.split(r"\.|::", annotation)[-1]
    if short in ("int", "SupportsInt"):
        return type(value) is int
    if short in ("str", "bool", "tuple", "list"):
        return type(value).__name__ == short and (short not in ("tuple", "list") or all(type(d) is int for d in value))
    if short in ("buffer", "Buffer"):
        return isinstance(value, bytes | bytearray | memoryview)
    if short == "Dims" and isinstance(value, tuple | list):
        return all(type(one) is int for one in value)
    return value.of == short if isinstance(value, Imitation) else isinstance(value, getattr(Imitation.real, short))


class HostMemory(Imitation, bytes):
    of = "IHostMemory"
