"""Manifests: lists of images in a file, one a row, in the spellings that people have.

`.txt`, `.lst` and `.list` have one URI a line, perhaps with labels behind it, which are dropped; `.csv` and `.tsv` name
their columns, `.jsonl`, `.ndjson` and `.json` hold texts or objects, `.parquet` has columns. Where there are names,
`uri` counts, and `key` if it is there. All may be compressed. Relative URIs mean places beside the manifest.

This module parses bytes; it reads no files and looks at no image.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sam_batch.data.readers import formats
from sam_batch.errors import InputError

MAX_BYTES = 1 << 30  # of what is stored, and of what that unpacks to
PICTURES_INSIDE = "pictures inside of Parquet files are not read: write them to files, or to .tar archives"

_CHUNK = 1 << 20
_CODECS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd", "lz4": "lz4"}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_COMMENT = re.compile(r"#([#\s].*|[^.]*)")  # "# old ones", "#old ones", "###"; but "#1.jpg" is a name
_FILE = r".*\.[A-Za-z][A-Za-z0-9]{1,4}"
_IMAGE = r".*\.(?i:jpe?g|jpe|jfif|png|webp|tiff?|bmp|gif|avif|hei[cf])"
_LABELLED = re.compile(rf"({_FILE})( +-?\d+)+")
_WORDED = re.compile(rf"({_IMAGE})( +(?!{_IMAGE}( |$))[^\s/]+)+")  # "a.jpg cat", "a.jpg 12,30,80,90,0"; no second image


class Row(NamedTuple):
    """One image as it was written, or what is wrong with its row.

    Attributes:
        line: Of the file, or the row's number where there are no lines; from 1.
        uri: As written.
        key: As written; None where there is none.
        mistake: What is wrong; empty where nothing is.
    """

    line: int
    uri: str = ""
    key: str | None = None
    mistake: str = ""


def is_manifest(uri: str) -> bool:
    """Whether a file is a manifest, by its extension."""
    return _kind(uri)[0] in _READERS


def parse(uri: str, data: bytes) -> Iterator[Row]:
    """The rows of a manifest.

    Raises:
        InputError: It cannot be read at all: damaged, of another encoding, without a column `uri`.
    """
    kind, codec = _kind(uri)
    try:
        yield from _READERS[kind](_unpacked(data, codec) if codec else data)
    except (ValueError, csv.Error, pa.ArrowException, OSError) as error:
        seems = formats.seems(data)
        looks = f"; it looks like {seems}" if seems not in ("", "text", "JSON") else ""
        raise InputError(f"input.uri: {uri}: cannot be read as a list of images: {error}{looks}") from error


def _kind(uri: str) -> tuple[str, str]:
    """The extension that says what it is, and the codec that it is compressed with."""
    parts = uri.rpartition("/")[2].lower().split(".")
    codec = _CODECS.get(parts[-1], "")
    return (parts[-2] if codec and len(parts) > 2 else parts[-1] if len(parts) > 1 else ""), codec


def _unpacked(data: bytes, codec: str) -> bytes:
    # A buffer of ours, for Arrow would take as much memory as is asked for, and lose it where it finds damage.
    unpacked, some = bytearray(), bytearray(_CHUNK)
    with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
        while size := stream.readinto(some):
            unpacked += memoryview(some)[:size]
            if len(unpacked) > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes")
    return bytes(unpacked)


def _text(data: bytes) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is no {encoding.removesuffix('-sig').upper()}; save it as UTF-8") from error


def _lines(data: bytes) -> Iterator[Row]:
    numbered = enumerate(_text(data).split("\n"), 1)
    lines = [(number, line.removesuffix("\r")) for number, line in numbered]
    lines = [(number, line) for number, line in lines if line.strip() and not _COMMENT.fullmatch(line)]
    if lines and "uri" in _names(lines[0][1], "\t"):
        yield from _table(data)
        return
    spellings = (one for one in (_LABELLED, _WORDED) if all(one.fullmatch(line) for _, line in lines))
    labelled = next(spellings, None)  # only where each line has some: names have blanks, too
    for number, line in lines:
        yield _cell(number, line.split("\t")) if "\t" in line else Row(number, _path(line, labelled))


def _path(line: str, labelled: re.Pattern[str] | None = None) -> str:
    match = labelled.fullmatch(line) if labelled else None
    path = match[1] if match else line
    return path[1:-1] if len(path) > 2 and path[0] == path[-1] and path[0] in "'\"" else path


def _cell(number: int, cells: Sequence[str]) -> Row:
    """The path among labels and numbers: the only cell that ends as a file's name does."""
    paths = [cell for cell in cells if re.fullmatch(_FILE, cell)]
    if len(paths) != 1:
        return Row(number, mistake=f"which of its {len(cells)} cells is the path? name the columns in a first line")
    return Row(number, _path(paths[0]))


def _table(data: bytes) -> Iterator[Row]:
    lines = _text(data).split("\n")
    begin = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    header = lines[begin]
    delimiter = next((one for one in ",;\t" if "uri" in _names(header, one)), None)
    if delimiter is None:
        columns = max((_names(header, one) for one in ",;\t"), key=len)
        raise ValueError(f"no column is named uri; its first line has {', '.join(columns)}")
    names = _names(header, delimiter)
    body = io.StringIO("\n".join(lines[begin + 1 :]), newline="")
    spaced = f"{delimiter} " in header
    rows = csv.DictReader(body, names, delimiter=delimiter, strict=True, skipinitialspace=spaced)
    for row in rows:
        line = begin + 1 + rows.line_num
        if None in row:
            yield Row(line, mistake=f"it has more cells than columns; quote names that hold a {delimiter!r}")
        else:
            yield _row(line, row)


def _names(header: str, delimiter: str) -> list[str]:
    """The columns that a first line names, in lower case."""
    return [name.strip().lower() for name in next(csv.reader([header.strip()], delimiter=delimiter), [])]


def _jsonl(data: bytes) -> Iterator[Row]:
    for line, text in enumerate(_text(data).split("\n"), 1):
        if text.strip():
            try:
                yield _row(line, json.loads(text))
            except ValueError as error:
                yield Row(line, mistake=f"it is no JSON: {error}")


def _json(data: bytes) -> Iterator[Row]:
    rows = json.loads(_text(data))
    if not isinstance(rows, list):
        about = f"an object with {', '.join(rows)}" if isinstance(rows, dict) else "a single value"
        raise ValueError(f"a list of paths, or of objects with uri, is understood; it holds {about}")
    yield from (_row(number, row) for number, row in enumerate(rows, 1))


def _parquet(data: bytes) -> Iterator[Row]:
    file = pq.ParquetFile(pa.BufferReader(data))
    columns = file.schema_arrow.names
    if "uri" not in columns:
        inside = f"; {PICTURES_INSIDE}" if any(map(_may_be_pictures, file.schema_arrow.types)) else ""
        raise ValueError(f"no column is named uri; it has {', '.join(columns)}{inside}")
    number = 0
    for batch in file.iter_batches(columns=[name for name in ("uri", "key") if name in columns]):
        for row in batch.to_pylist():
            number += 1
            yield _row(number, row)


def _may_be_pictures(kind: pa.DataType) -> bool:
    """Bytes, or bytes and a name, as data sets on the Hugging Face Hub hold pictures."""
    kinds = [field.type for field in kind] if pa.types.is_struct(kind) else [kind]
    return any(pa.types.is_binary(one) or pa.types.is_large_binary(one) for one in kinds)


def _row(line: int, row: Any) -> Row:
    """A row of named values, or of a path alone."""
    named = {"uri": row} if isinstance(row, str) else row
    if not isinstance(named, dict):
        return Row(line, mistake="it is neither a path nor an object")
    if "uri" not in named:
        return Row(line, mistake=f"it has no uri, but {', '.join(map(str, named))}")
    uri, key = named["uri"], named.get("key")
    if not isinstance(uri, str) or not uri or not isinstance(key, str | None):
        return Row(line, mistake="uri should be text that is not empty, key text")
    return Row(line, uri, key or None)


_READERS: dict[str, Callable[[bytes], Iterator[Row]]] = {
    "txt": _lines, "lst": _lines, "list": _lines, "csv": _table, "tsv": _lines,
    "jsonl": _jsonl, "ndjson": _jsonl, "json": _json, "parquet": _parquet,
}  # fmt: skip
EXTENSIONS = tuple(f".{one}" for one in _READERS)
