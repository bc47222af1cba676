"""What this package warns of, on its way to the user: a worker has no terminal, so it travels with the shard.

The stages collect it, ticket and receipt carry it, and the driver logs it again. What other packages say is left out.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import sam_batch

_PACKAGE = Path(sam_batch.__file__).parent
_log = logging.getLogger(sam_batch.__name__)


@contextlib.contextmanager
def noted(notes: list[str]) -> Iterator[None]:
    """Add to a list what the package warns of meanwhile, in any thread of this process, each once."""
    collector = _Collector(notes)
    _log.addHandler(collector)
    try:
        with _own_warnings_logged():
            yield
    finally:
        _log.removeHandler(collector)


class _Collector(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        note = record.getMessage()
        if note not in self._notes:
            self._notes.append(note)


@contextlib.contextmanager
def _own_warnings_logged() -> Iterator[None]:
    """Warnings of the package that are not logged already: `masks/` knows no logging."""
    show = warnings.showwarning

    def log_own(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        if Path(filename).is_relative_to(_PACKAGE):
            _log.warning("%s", message)
        else:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = log_own
    try:
        yield
    finally:
        warnings.showwarning = show
