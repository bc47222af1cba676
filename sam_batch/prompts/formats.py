"""The formats that prompts are read from: the protocol of one, and the list of them.

Another format is a file of its own and a line in `FORMATS`. A format turns a file's bytes into items, bit by bit, and
opens nothing itself.
"""

import io
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any, NamedTuple, Protocol

from sam_batch.config_prompts import PromptsConfig
from sam_batch.data.storage import shown
from sam_batch.errors import ConfigError
from sam_batch.prompts.items import Item


class Reader(Protocol):
    """Reads the files of one format, one after the other; made of the section `prompts`."""

    def read(self, name: str, file: io.BufferedReader) -> Iterator[Item]:
        """All that a file says.

        Args:
            name: Of the file, its URI.
            file: Its content.

        Raises:
            ConfigError: It cannot be read at all; a row that is wrong is an item.
        """
        ...


class Format(NamedTuple):
    """One format.

    Attributes:
        reader: Names its `Reader`, as `module:class`: a name, since a format may need packages that others do without.
        extensions: Of its files, by which it is recognised, also in a folder.
        first: How the names of files end that are to be read before the others.
        passed_over: What the base names of files look like that lie in its folders and hold no prompts.
        is_many_files: A source is a folder of small files, which are fetched several at a time; one of `first` stands
            for its folder.
    """

    reader: str
    extensions: tuple[str, ...]
    first: tuple[str, ...] = ()
    passed_over: str = ""
    is_many_files: bool = False


FORMATS = {
    "coco": Format("sam_batch.prompts.coco:CocoReader", (".json",)),
    "yolo": Format(
        "sam_batch.prompts.yolo:YoloReader",
        (".txt", ".yaml", ".yml", ".names"),
        (".yaml", ".yml", ".names", "/classes.txt"),
        r"(?i)readme.*|(train|val|valid|test)\w*\.txt",
        is_many_files=True,
    ),
    "table": Format("sam_batch.prompts.table:TableReader", (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")),
}


def require_known(name: str) -> None:
    """Refuse a format that is none of `FORMATS`.

    Raises:
        ConfigError: Names it.
    """
    if name != "auto" and name not in FORMATS:
        raise ConfigError(f"prompts.format: {name!r} is no format; there are auto, {', '.join(FORMATS)}")


def format_of(uri: str, wanted: str) -> str:
    """The format of a file or folder: the one that is asked for, or the one that its name tells; a folder is YOLO's.

    Raises:
        ConfigError: Its name tells none.
    """
    if wanted != "auto":
        return wanted
    name = uri.lower().removesuffix(".gz")
    for known, its in FORMATS.items():
        if name.endswith(its.extensions):
            return known
    if "." not in name.rpartition("/")[2]:
        return "yolo"
    extensions = ", ".join(extension for known in FORMATS.values() for extension in known.extensions)
    raise ConfigError(
        f"prompts.uri: {shown(uri)}: is not known by its name ({extensions}); set prompts.format to one of "
        f"{', '.join(FORMATS)}"
    )


def open_reader(name: str, config: PromptsConfig) -> Reader:
    """The reader of a format."""
    make: Any = resolve_name(FORMATS[name].reader)
    reader: Reader = make(config)
    return reader
