"""What is wrong with a configuration, in words for whoever wrote it: the key, its value, and what to write.

Works on what pydantic found, and finds nothing itself.
"""

import difflib
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sam_batch.config import Config
from sam_batch.section import keys, kinds, subsection

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_too_short": "some text",
}
_SECRET = ("run.webhook",)  # keys whose values are not repeated
_NEAR = 0.75  # likeness of names: `min_area` and `min_mask_area` are, `min_mask_region_area` does something else
_SUBJECTS = ("Value error, ", "Input ", "String ", "Tuple ", "List ")  # of pydantic's sentences


def explain(error: ValidationError) -> Iterator[str]:
    """One line for each key that is wrong.

    pydantic tells the branches of a union apart: they are put together, and one that went deeper is the one meant.
    """
    by_path: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors():
        by_path.setdefault(_path(detail["loc"]), []).append(detail)
    for path, details in by_path.items():
        if not any(other.startswith(f"{path}.") for other in by_path):
            yield _line(path, details)


def _path(loc: tuple[int | str, ...]) -> str:
    """The key, and the position in its list, without the names that pydantic adds for the branches of a union."""
    path: list[str] = []
    section: type[BaseModel] | None = Config
    for step in loc:
        if section is not None or isinstance(step, int):
            path.append(str(step))
        section = subsection(section, str(step)) if section is not None else None
    return ".".join(path)


def _line(path: str, details: Sequence[ErrorDetails]) -> str:
    kind, value = details[0]["type"], details[0]["input"]
    if kind in ("extra_forbidden", "invalid_key"):
        return f"{path}: unknown key{_suggestion(path)}"
    if kind == "missing" and isinstance(value, (list, tuple)):
        return f"{path.rpartition('.')[0]} = {_short(value)}: should have more items"
    if kind == "missing":
        return _required(path)
    if kind == "model_type":
        return f"{path} = {_short(value)}: is a section; {_section_hint(path, value)}"
    if isinstance(value, dict) and kind == "value_error":  # about a whole section
        return f"{path}: {_reason(details[0])}"
    told = path if path in _SECRET else f"{path} = {_short(value)}"
    return f"{told}: {_reasons(path, details)}{_hint(value, details)}"


def _reasons(path: str, details: Sequence[ErrorDetails]) -> str:
    """What the value should be; several branches as alternatives."""
    reasons = list(dict.fromkeys(map(_reason, details)))
    field = dict(keys(Config)).get(path)
    if field is not None and NoneType in kinds(field.annotation) and details[0]["type"] in _WANTED:
        reasons.append("should be null")
    alternatives = [reason.removeprefix("should be ") for reason in reasons]
    return "should be " + " or ".join(alternatives) if all(map(_is_wish, reasons)) else "; ".join(reasons)


def _is_wish(reason: str) -> bool:
    return reason.startswith("should be ")


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] in _WANTED:
        return f"should be {_WANTED[detail['type']]}"
    reason = detail["msg"]
    for subject in _SUBJECTS:
        reason = reason.removeprefix(subject)
    return reason


def _hint(value: Any, details: Sequence[ErrorDetails]) -> str:
    """How to write what was probably meant."""
    types = {detail["type"] for detail in details}
    if "string_type" in types and not isinstance(value, (list, dict, NoneType)):
        return "; put it in quotes"
    if isinstance(value, str) and types <= {"tuple_type", "list_type"} and not value.startswith("["):
        return f"; write [{value}]"
    return ""


def _section_hint(path: str, value: Any) -> str:
    below = [name for name, _ in keys(Config) if name.rpartition(".")[0] == path]
    switch = f"{path}.enabled"
    if isinstance(value, bool) and switch in below:
        return f"set {switch} to {str(value).lower()}"
    return f"set one of its keys: {', '.join(below)}"


def _required(path: str) -> str:
    """Where a whole section is missing, the key in it that has no default."""
    required = {
        name: field for name, field in keys(Config) if f"{name}.".startswith(f"{path}.") and field.is_required()
    }
    name, field = list(required.items())[-1]
    return f"{name}: is required. {field.description}"


def _suggestion(path: str) -> str:
    known = [name for name, _ in keys(Config)]
    if path in known:
        return "; in a file a key stands indented below its section"
    nearest = _near(path, known) or difflib.get_close_matches(path, known, n=1)
    return f"; did you mean {' or '.join(nearest[:3])}?" if nearest else ""


def _near(path: str, known: Sequence[str]) -> list[str]:
    """Keys of a similar name: in the section that was named, else in any; without a section all of them."""
    section, _, last = path.rpartition(".")
    by_last: dict[str, list[str]] = {}
    for name in known:
        by_last.setdefault(name.rpartition(".")[2], []).append(name)
    if not section:
        return [name for near in difflib.get_close_matches(last, by_last, n=2, cutoff=_NEAR) for name in by_last[near]]
    siblings = [near for near in by_last if f"{section}.{near}" in known]
    in_section = difflib.get_close_matches(last, siblings, n=1, cutoff=_NEAR)
    return [f"{section}.{near}" for near in in_section] or by_last.get(last, [])[:1]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
