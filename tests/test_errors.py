"""Errors cross process borders and are read by people."""

import pickle

import pytest

import sam_batch.errors
from sam_batch.errors import ConfigError, ImageError, LeaseError, OutputError, SamBatchError


def family(root: type[SamBatchError]) -> list[type[SamBatchError]]:
    own = [child for child in root.__subclasses__() if child.__module__ == root.__module__]
    return [root, *(one for child in own for one in family(child))]


def example(cls: type[SamBatchError]) -> SamBatchError:
    return cls("truncated", "ends early") if issubclass(cls, ImageError) else cls("ends early")


@pytest.mark.parametrize("cls", family(SamBatchError), ids=lambda cls: cls.__name__)
def test_survives_pickling_with_text_and_attributes(cls: type[SamBatchError]) -> None:
    error = example(cls)
    error.key = "a.jpg"  # type: ignore[attr-defined]
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("cls", family(SamBatchError), ids=lambda cls: cls.__name__)
def test_is_drawn_in_the_tree(cls: type[SamBatchError]) -> None:
    assert sam_batch.errors.__doc__ is not None
    assert cls.__name__ in sam_batch.errors.__doc__.split()


def test_an_image_error_has_a_kind_and_reads_as_its_message() -> None:
    error = ImageError("truncated", "ends early")
    assert (error.kind, str(error)) == ("truncated", "ends early")


def test_a_held_output_counts_as_a_configuration_error() -> None:
    """Exit code 2 is given by type."""
    assert issubclass(LeaseError, OutputError)
    assert issubclass(OutputError, ConfigError)
