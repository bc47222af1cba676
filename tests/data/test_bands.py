"""Which bands are shown: the user's word counts more than the file's, and the file's more than a guess."""

import pytest

from sam_batch.config import InputConfig
from sam_batch.data.bands import Bands, choose
from sam_batch.errors import ImageError
from sam_batch.records import FailureKind

RGBA = Bands(4, (1, 2, 3), alpha=4)
NAIP = Bands(4, (1, 2, 3), alpha=4, alpha_is_sure=False)


def chosen(meaning, **settings):
    return choose(meaning, InputConfig(uri="-", **settings))


@pytest.mark.parametrize(
    ("bands", "settings", "expected"),
    [
        (RGBA, {}, ((1, 2, 3), 4)),
        (RGBA, {"alpha": "ignore"}, ((1, 2, 3), None)),
        (NAIP, {}, ((1, 2, 3), None)),
        (NAIP, {"alpha": "blend"}, ((1, 2, 3), 4)),
        (RGBA, {"bands": [3, 2, 1]}, ((3, 2, 1), None)),
        (RGBA, {"bands": [3, 2, 1], "alpha": "blend"}, ((3, 2, 1), 4)),
        (NAIP, {"bands": [4, 1, 2], "alpha": "blend"}, ((4, 1, 2), None)),
        (RGBA, {"bands": [4]}, ((4,), None)),
        (Bands(2, (1,)), {"alpha": "blend"}, ((1,), None)),
    ],
)
def test_alpha_counts_where_the_format_is_sure_of_it_or_the_user_is(bands, settings, expected):
    assert chosen(bands, **settings) == expected


def test_bands_that_are_not_there_are_named():
    with pytest.raises(ImageError, match=r"it has 4 bands; input\.bands asks for band 8") as caught:
        chosen(RGBA, bands=[8, 4, 3])
    assert caught.value.kind == FailureKind.MISSING_BANDS
