"""Which model the tensors of a file are: they say it themselves, wherever a trainer has put them.

Names, shapes and types are checked here, and by whoever asks for it the numbers. No code that a file may hold is run.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sam_batch.errors import CheckpointError
from sam_batch.model import families
from sam_batch.model.containers import Place, places
from sam_batch.model.family import Family, Model
from sam_batch.model.foreign import foreign
from sam_batch.model.state import is_finite, read_tree

_MOST_PLACES = 1000  # in a file that was made to have many
_SHARD = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.")


class Weights(NamedTuple):
    """Tensors that are a model.

    Attributes:
        family: Of the model.
        model: Which one.
        state: Under the family's own names; still backed by the file where its format allows that.
        note: Where in the file they were, if that was not plain.
    """

    family: Family
    model: Model
    state: Mapping[str, Tensor]
    note: str


def read_weights(path: Path) -> Weights:
    """The tensors of the model that a file holds; their numbers are not looked at.

    Raises:
        CheckpointError: It is damaged or unsafe, holds no model known here, or not exactly its tensors.
    """
    return weights_in(read_tree(path), path)


def weights_in(tree: Mapping[Any, Any], path: Path) -> Weights:
    """The tensors of the model in what a file holds, or in a module's `state_dict`.

    Args:
        tree: Tensors by name, at any depth.
        path: Of the file, or what to call the module in messages.

    Raises:
        CheckpointError: There is no model known here, or not exactly its tensors.
    """
    found = [place for place in islice(places(tree), _MOST_PLACES) if place.state]
    known = [(place, what) for place in found if (what := _recognise(place.state)) is not None]
    if not known:
        raise CheckpointError(f"{path}: {_what_it_is(path, found)}")
    place, (family, model, state) = known[0]
    _require_same_tensors(state, skeleton(family, model.name).state_dict(), f"{path}: looks like {model.name}, but")
    return Weights(family, model, state, _note(place, [other for other, _ in known[1:]]))


def require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that hold NaN or infinity; reads all of them.

    Raises:
        CheckpointError: Some do; the message names the first.
    """
    for name, tensor in state.items():
        if not is_finite(tensor):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; use a checkpoint of an earlier step")


def _recognise(state: Mapping[str, Tensor]) -> tuple[Family, Model, Mapping[str, Tensor]] | None:
    if foreign(state.keys()) is not None:
        return None
    for family, translated, signature in _kin(state):
        for model in family.models:
            if model.signature == signature:
                return family, model, translated
    return None


def _kin(state: Mapping[str, Tensor]) -> Iterator[tuple[Family, Mapping[str, Tensor], tuple[int, ...]]]:
    """Families that tensors may be of, the tensors under their names, and which of the models they would be."""
    for family in families.FAMILIES:
        translated = family.translate(state)
        if translated is not None:
            yield family, translated, family.signature(translated)


def _what_it_is(path: Path, found: Sequence[Place]) -> str:
    """Of a file without a model known here: what it holds, and what to do."""
    if _SHARD.search(path.name):
        return "is one of several files that hold the weights together; put their tensors into one file, and name that"
    for place in found:
        known = foreign(place.state.keys())
        if known is not None:
            return f"holds {known.what}; {known.cure}"
    remedy = f"use {', '.join(families.names())} or a checkpoint of theirs"
    for place in found:
        for family, _, signature in _kin(place.state):
            return f"is no {family.name} known here ({family.describe(signature)}); {remedy}"
    names = _some(found[0].state.keys()) if found else "no tensors"
    return f"is no model known here (it holds {names}); {remedy}, as model.state_dict()"


def _note(place: Place, others: Collection[Place]) -> str:
    if not place.steps:
        return ""
    aside = f"; {', '.join(map(str, others))} left aside" if others else ""
    return f"the weights are those of {place}{aside}"


def skeleton(family: Family, name: str) -> nn.Module:
    """The modules without memory for weights: initialising 600 million numbers to replace them takes seconds."""
    with torch.device("meta"):
        return family.build(name)


def _require_same_tensors(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str) -> None:
    shared = wanted.keys() & given.keys()
    misshapen = {
        f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in shared
        if given[name].shape != wanted[name].shape
    }
    integers = {name for name in shared if not given[name].is_floating_point()}
    faults = [
        f"{verb} {_some(names)}"
        for verb, names in (
            ("lacks", wanted.keys() - given.keys()),
            ("has unknown", given.keys() - wanted.keys()),
            ("has misshapen", misshapen),
            ("has integers in", integers),
        )
        if names
    ]
    if faults:
        raise CheckpointError(f"{prefix} {'; '.join(faults)}; use the checkpoint as it was published or trained")


def _some(names: Collection[str]) -> str:
    """The first three, and how many more."""
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"
