"""Loops that neither NumPy nor torch has in one pass, compiled by numba: at the first call, and without the GIL."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

REORDERING = {"reassoc", "contract", "nsz"}  # of LLVM's liberties those that leave NaN and infinity alone


def compiled(function: Function) -> Function:
    """Compile; keep the result on disk if numba finds a folder it may write to."""
    return _compile(function)


def reordered(function: Function) -> Function:
    """Compile likewise, for vector units: sums may be taken in any order, and rounded once or twice."""
    return _compile(function, fastmath=REORDERING)


def _compile(function: Function, **options: Any) -> Function:
    try:
        fast: Function = njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # it found none
        fast = njit(nogil=True, **options)(function)
    return fast
