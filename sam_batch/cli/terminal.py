"""Standard output and standard error as a program meets them: closed, full, a pipe nobody reads, or taken by Ray.

Answers go to standard output, everything else to standard error. What cannot be shown never stops a job.
"""

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO, cast

import typer
from rich.console import Console

from sam_batch.cli.json_lines import JsonHandler, JsonLines
from sam_batch.errors import ExitCode

_NEVER_WRAPPED: Final = 1 << 20  # columns


def prepare_streams() -> None:
    """Make both streams safe to write to, in a program of our own; once, at its start."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file that is opened gets this number, and what is printed lands in it.
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    sys.stdout = sys.stdout or _Unfailing.on(1)
    sys.stderr = _Unfailing.on(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no text


def speak_json() -> None:
    """From now on standard error is JSON lines."""
    sys.stderr = JsonLines(sys.stderr)


class _Unfailing(io.TextIOWrapper):
    """A text stream that drops what its file does not take: the disk is full, or nobody reads any more."""

    @classmethod
    def on(cls, descriptor: int) -> Self:
        """Writes to a descriptor, line by line, and leaves it open."""
        raw = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - lives as long as the stream
        return cls(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        try:
            super().write(text)
        except OSError:
            _discard(self.fileno())
        return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _discard(self.fileno())


def _discard(descriptor: int) -> None:
    """Send what is still buffered for a file, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def answer(text: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
    """Print what was asked for on standard output.

    Args:
        text: With or without a line break at its end.
        exit_code: What the program ends with where that fails; a reader that is gone is told nothing.
    """
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            complain(f"standard output cannot be written: {error.strerror}")
        raise typer.Exit(exit_code) from None


def complain(message: object, what: str = "error") -> None:
    """Print what went wrong, or may, on standard error."""
    sys.stderr.write(f"{what}: {message}\n")


def show_unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook` of the program: what nobody foresaw, in one line, and with -v where it came from."""
    if wants_traceback():
        traceback.print_exception(kind, error, trace)
    complain(f"{kind.__name__}: {' '.join(str(error).split())} (unforeseen; -v shows where, for a report)")


def wants_traceback() -> bool:
    """Whether the command line asks for them; what the configuration says may not have been read yet."""
    return not {"-v", "--verbose", "run.verbose=true"}.isdisjoint(sys.argv)


@contextlib.contextmanager
def quiet(verbose: bool) -> Iterator[Console]:
    """A console on the real standard error, while what Ray prints past Python's logging goes nowhere."""
    as_json = isinstance(sys.stderr, JsonLines)
    if verbose:
        console = _console(sys.stderr)
        with _logged_on(console, logging.INFO):
            yield console
        return
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with Path(os.devnull).open("w") as nowhere, _Unfailing.on(saved[1]) as terminal:
        _redirect([nowhere.fileno(), nowhere.fileno()])
        try:
            console = _console(JsonLines(terminal) if as_json else terminal)
            with _logged_on(console, logging.WARNING):
                yield console
        finally:
            _redirect(saved)
            for descriptor in saved:
                os.close(descriptor)


def _console(stream: TextIO | JsonLines) -> Console:
    """Of JSON lines one is what is printed at once, however long; FORCE_COLOR is not meant for them."""
    if isinstance(stream, JsonLines):
        return Console(file=cast("TextIO", stream), width=_NEVER_WRAPPED, force_terminal=False, no_color=True)
    return Console(file=stream)


def _redirect(targets: list[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for descriptor, target in zip((1, 2), targets, strict=True):
        os.dup2(target, descriptor)


@contextlib.contextmanager
def _logged_on(console: Console, level: int) -> Iterator[None]:
    """Show what the package logs from this level on."""
    log, stream = logging.getLogger("sam_batch"), console.file
    handler: logging.Handler = _ConsoleHandler(console)
    if isinstance(stream, JsonLines):
        handler, level = JsonHandler(stream), logging.DEBUG
    handler.addFilter(_EachOnce())
    before = log.level
    log.setLevel(level)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _ConsoleHandler(logging.Handler):
    """Prints messages; above a progress bar, if there is one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.levelname.lower()}: {record.getMessage()}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _EachOnce(logging.Filter):
    """Lets each message through once, but all that is about an image."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "facts"):
            return True
        message = record.getMessage()
        is_new = message not in self._shown
        self._shown.add(message)
        return is_new
