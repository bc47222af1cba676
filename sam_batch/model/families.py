"""Which families of models there are, and what can be asked of all of them. Imports no torch.

A new family is a new folder with a subclass of `model.family.Family`, and one more name in `FAMILIES`.
"""

from collections.abc import Iterator

from sam_batch.model.family import Family, Model
from sam_batch.model.sam.family import SAM

FAMILIES: tuple[Family, ...] = (SAM,)


def models() -> Iterator[Model]:
    """Every model that is known by name."""
    return (model for family in FAMILIES for model in family.models)


def names() -> list[str]:
    """Their names."""
    return [model.name for model in models()]


def family_of(name: str) -> Family:
    """The family of a known model; KeyError for another."""
    return {model.name: family for family in FAMILIES for model in family.models}[name]


def model_of(name: str) -> Model:
    """A known model; KeyError for another."""
    return {model.name: model for model in models()}[name]


def published(sha256: str) -> Model | None:
    """The model of which a file with this hash holds the published weights."""
    return next((model for model in models() if model.sha256 == sha256), None)


def expected_sha256(source: str) -> str | None:
    """What a file with the name of one that is published at a URL must hash to; `source` is its path or URL."""
    name = source.rpartition("/")[2]
    named = (one.sha256 for one in models() if "://" in one.source and one.source.rpartition("/")[2] == name)
    return next(named, None)


def view_bytes(name: str) -> int:
    """Of the largest view that a model is shown; where its name is not known yet, that of the largest model."""
    return max(model.view_bytes for model in models() if name in (model.name, "auto"))
