"""How functions are compiled; what is compiled has tests of its own."""

import numpy as np
import pytest

from sam_batch import compiled as module
from sam_batch.compiled import compiled, reordered


@pytest.mark.parametrize("decorator", [compiled, reordered])
def test_functions_compile_where_nothing_can_be_kept(decorator, monkeypatch):
    """numba refuses at once if it may write neither beside the module nor at home."""

    def njit(*, nogil, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, nogil)

    monkeypatch.setattr(module, "njit", njit)
    assert decorator(abs) == (abs, True)


@reordered
def total(values):
    result = np.float32(0)
    for index in range(len(values)):
        result += values[index]
    return result


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_reordered_sums_keep_what_is_not_finite(odd):
    values = np.ones(100, np.float32)
    values[37] = odd
    np.testing.assert_equal(total(values), np.float32(odd))
