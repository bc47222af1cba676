"""The generator's settings as controls: what each may be, where it begins and what it does, read off the configuration.

How a control looks is a page's business. What it takes is text, as an override on the command line has it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sam_batch.config import GeneratorConfig
from sam_batch.library.explored import FILTERS
from sam_batch.segment.algorithm import ALGORITHMS

Kind = Literal["share", "whole", "choice", "text"]


@dataclass(frozen=True, slots=True)
class Control:
    """One setting.

    Attributes:
        key: `generator.pred_iou_thresh` and the like.
        sentence: What it does.
        kind: share is a number from 0 to 1, whole a whole number, choice one of `choices`; the rest is text.
        default: The configuration's.
        optional: null turns it off.
        only_filters: Another value needs no network.
        low: Least whole number; None where nothing is said.
        high: Largest one, likewise.
        choices: Of a choice.
    """

    key: str
    sentence: str
    kind: Kind
    default: str
    optional: bool
    only_filters: bool
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Within its section."""
        return self.key.rpartition(".")[2]


def generator_controls() -> Iterator[Control]:
    """Every setting of the generator, in the configuration's order."""
    for name, schema in GeneratorConfig.model_json_schema()["properties"].items():
        branches = schema.get("anyOf", [schema])
        values = [branch for branch in branches if branch["type"] != "null"]
        choices = tuple(ALGORITHMS) if name == "mode" else ()
        yield Control(
            key=f"generator.{name}",
            sentence=schema["description"],
            kind="choice" if choices else _kind(values),
            default=as_text(schema["default"]),
            optional=len(values) < len(branches),
            only_filters=name in FILTERS,
            low=values[0].get("minimum"),
            high=values[0].get("maximum"),
            choices=choices,
        )


def _kind(values: list[Mapping[str, Any]]) -> Kind:
    if len(values) > 1:
        return "text"
    value = values[0]
    if (
        value["type"] == "number"
        and value.get("minimum") == 0
        and 1
        in (
            value.get("maximum"),
            value.get("exclusiveMaximum"),
        )
    ):
        return "share"
    return "whole" if value["type"] == "integer" else "text"


def as_text(value: Any) -> str:
    """A value as an override says it."""
    if value is None:
        return "null"
    if isinstance(value, tuple):  # of grids of points
        return str([[list(point) for point in grid] for grid in value])
    return str(value)
