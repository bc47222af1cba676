"""Loops that neither NumPy nor torch has in one pass, compiled by numba: at the first call, and without the GIL.

What is compiled is kept on disk, one file for each function, signature and processor, whose name says all that it
depends on. numba's own cache numbers such files and keeps an index of them: of two processes that compile at once,
either may end with the other's code under its own signature, and with numbers that are wrong without a word. It also
knows a function's own source alone, and not that of the functions which are inlined in it.
"""

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile

Function = TypeVar("Function", bound=Callable[..., Any])

REORDERING = {"reassoc", "contract", "nsz"}  # of LLVM's liberties those that leave NaN and infinity alone


def compiled(function: Function) -> Function:
    """Compile; keep the result on disk if numba finds a folder it may write to."""
    return _compile(function)


def reordered(function: Function) -> Function:
    """Compile likewise, for vector units: sums may be taken in any order, and rounded once or twice."""
    return _compile(function, fastmath=REORDERING)


def _compile(function: Function, **options: Any) -> Function:
    fast = njit(nogil=True, **options)(function)
    with contextlib.suppress(RuntimeError):  # there is no such folder
        fast._cache = _Cache(function)  # as `cache=True` does with numba's own
    return fast


class _Cache(FunctionCache):
    """A function's cache without an index."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = (numba.__version__, self._impl.locator.get_source_stamp(), _sources())
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)


class _Files(IndexDataCacheFile):
    """The files of one function, each whole or absent."""

    def save(self, key: object, data: object) -> None:
        """Keep what was compiled for a signature on a processor, if there is room."""
        with contextlib.suppress(OSError):
            self._save_data(self._name(key), data)

    def load(self, key: object) -> object:
        """What was kept; None where there is none, or a power failure damaged it."""
        try:
            return self._load_data(self._name(key))
        except (OSError, EOFError, pickle.UnpicklingError):
            return None

    def flush(self) -> None:
        """Forget nothing: what is outdated has another name."""

    def _name(self, key: object) -> str:
        digest = hashlib.sha256(repr((key, self._source_stamp)).encode()).hexdigest()
        return f"{self._index_name.removesuffix('.nbi')}.{digest[:16]}.nbc"


@cache
def _sources() -> str:
    """A hash of all modules of this package with compiled functions: one holds the code of those that it calls."""
    sources = (path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    compiling = [source for source in sources if b"from sam_batch.compiled import" in source]
    return hashlib.sha256(b"\0".join(compiling)).hexdigest()
