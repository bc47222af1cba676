"""A table of the images that failed, with the reason: for a spreadsheet, or for whoever mends them."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.output.plan import Plan
from sam_batch.records import Status

KEY: Final = "failures/failures.csv"
COLUMNS: Final = ("key", "uri", "stage", "kind", "message")
HEADER: Final = dict(zip(COLUMNS, COLUMNS, strict=True))


@contextmanager
def open_failures(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["FailuresExport"]:
    """Start the table of an output; see `formats.Export`."""
    del config, plan
    yield FailuresExport(storage)


class FailuresExport:
    """CSV of UTF-8 with a header, one row a failed image, in the order of the plan."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._rows = storage, [HEADER]

    def add(self, part: pa.Table) -> None:
        """Take a part's failed images."""
        self._rows += failed_rows(part)

    def finish(self) -> list[str]:
        """Write the table, also where nothing failed."""
        self._storage.replace(KEY, to_csv(self._rows).encode())
        return [KEY]


def failed_rows(part: pa.Table) -> list[dict[str, str]]:
    """The failed images of a part, as `COLUMNS`."""
    failed = part.filter(pc.equal(part["status"], Status.FAILED)).select(["key", "uri", "error"])
    return [{"key": row["key"], "uri": row["uri"], **row["error"]} for row in failed.to_pylist()]


def to_csv(rows: list[dict[str, str]]) -> str:
    """The rows as CSV, all quoted: messages may hold line ends of any kind."""
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()
