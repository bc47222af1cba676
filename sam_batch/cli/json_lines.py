"""Standard error as JSON lines (`run.log=json`): what is printed for a person, and what is logged, image by image.

Each line is an object with `time` (UTC), `level` and `message`; what is known of an image stands beside these.
"""

import io
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

_LEVELS = ("warning", "error")  # as the first word of a line that is printed


class JsonLines(io.TextIOBase):
    """A text stream that writes each line as JSON to another one."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._begun = ""

    def write(self, text: str) -> int:
        """Keep what is no whole line yet."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            level, _, message = line.partition(": ")
            self.put(*((level, message) if level in _LEVELS else ("info", line)))
        return len(text)

    def put(self, level: str, message: str, facts: Mapping[str, Any] | None = None) -> None:
        """Write one line; facts that are None are left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        known = {name: fact for name, fact in (facts or {}).items() if fact is not None}
        line = {"time": now, "level": level, **known, "message": message}
        self.stream.write(json.dumps(line) + "\n")
        self.stream.flush()

    def flush(self) -> None:
        """Of the other stream."""
        self.stream.flush()

    def fileno(self) -> int:
        """The other stream's."""
        return self.stream.fileno()


class JsonHandler(logging.Handler):
    """Logs to such a stream, with what is known of an image (`extra={"facts": ...}`)."""

    def __init__(self, lines: JsonLines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        level = "info" if record.levelno < logging.WARNING else record.levelname.lower()
        self._lines.put(level, record.getMessage(), getattr(record, "facts", None))
