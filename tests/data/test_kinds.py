"""docs/pixels.md, file by file: what is said of each kind is what becomes of it."""

from importlib.util import find_spec

import numpy as np
import pytest
from support.kinds.page import KINDS, PAGE, page

from sam_batch.config import InputConfig
from sam_batch.data import pixels
from sam_batch.errors import ImageError


def settings_of(kind):
    return InputConfig(uri="-", **kind.settings)


def named(kinds):
    """A parameter each; where the package that writes a file is not installed, it cannot be had."""
    return [
        pytest.param(
            kind,
            id=f"{kind.name} {kind.settings or ''}",
            marks=pytest.mark.skipif(find_spec(kind.needs) is None, reason=f"only {kind.needs} writes such a file"),
        )
        for kind in kinds
    ]


@pytest.mark.parametrize("kind", named(kind for kind in KINDS if kind.failure is None))
def test_its_pixels_are_those_of_another_reader_put_through_the_rule(kind):
    data = kind.data()
    image = pixels.decode(data, settings_of(kind))
    expected = np.broadcast_to(kind.expected(data), image.rgb_HW3.shape)
    assert np.abs(image.rgb_HW3 - expected.astype(np.float64)).max() <= kind.tolerance
    assert set(image.notes) == set(kind.notes)


@pytest.mark.parametrize("kind", named(kind for kind in KINDS if kind.failure is not None))
def test_it_fails_in_the_words_of_the_page(kind):
    with pytest.raises(ImageError) as caught:
        pixels.decode(kind.data(), settings_of(kind))
    assert caught.value.kind == kind.failure
    assert kind.becomes in str(caught.value)


def test_the_page_says_what_is_tested_here():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_at_least_sixty_kinds_are_on_the_page():
    assert len({kind.name for kind in KINDS}) >= 60
