"""Manifests: lists of images in a file, one a row, as `.txt`, `.csv`, `.jsonl` or `.parquet`.

A `.txt` has one URI a line; the others have a column `uri` and may have a column `key`. Relative URIs mean places
beside the manifest. This module parses bytes; it reads no files and looks at no image.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from sam_batch.errors import InputError

Row = tuple[int, str, str | None]


def is_manifest(uri: str) -> bool:
    """Whether a file is a manifest, by its extension."""
    return _extension(uri) in _READERS


def parse(uri: str, data: bytes) -> Iterator[Row]:
    """Line or row number, URI as written, and key where one is given.

    Raises:
        InputError: Naming the line: not UTF-8, not JSON, no column `uri`, or an empty value.
    """
    line = 0
    try:
        for line, image, key in _READERS[_extension(uri)](data):
            if not isinstance(image, str) or not image or not isinstance(key, str | None):
                raise InputError(f"input.uri: {uri}, row {line}: uri should be text that is not empty, key text")
            yield line, image, key or None
    except (UnicodeDecodeError, ValueError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"input.uri: {uri}: cannot be read after row {line}: {error}") from error
    except KeyError:
        raise InputError(f"input.uri: {uri}, row {line + 1}: there is no column or field named uri") from None


def _txt(data: bytes) -> Iterator[Row]:
    for line, text in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if text.strip():
            yield line, text.removesuffix("\r"), None


def _csv(data: bytes) -> Iterator[Row]:
    rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    for row in rows:
        yield rows.line_num, row["uri"], row.get("key")


def _jsonl(data: bytes) -> Iterator[Row]:
    for line, text in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if text.strip():
            row = json.loads(text)
            if not isinstance(row, dict):
                raise ValueError(f"line {line} is no JSON object")
            yield line, row["uri"], row.get("key")


def _parquet(data: bytes) -> Iterator[Row]:
    file = pq.ParquetFile(pa.BufferReader(data))
    wanted = [name for name in ("uri", "key") if name in file.schema_arrow.names]
    line = 0
    for batch in file.iter_batches(columns=wanted):
        for row in batch.to_pylist():
            line += 1
            yield line, row["uri"], row.get("key")


def _extension(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[2].lower()


_READERS: dict[str, Callable[[bytes], Iterator[Row]]] = {
    "txt": _txt, "csv": _csv, "jsonl": _jsonl, "parquet": _parquet,
}  # fmt: skip
