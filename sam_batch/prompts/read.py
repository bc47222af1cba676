"""The prompts of a job: every source it names, read once on the driver, and put to the listed images."""

import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice

from sam_batch.config import Config, StorageConfig
from sam_batch.data import globs
from sam_batch.data.storage import Entry, open_storage, read_uri, shown, stat_uri
from sam_batch.data.storage_stream import open_stream
from sam_batch.data.walk import Walk
from sam_batch.errors import ConfigError, ImageError, NotFoundError, StorageError
from sam_batch.prompts.coco import CocoReader
from sam_batch.prompts.collect import Collector, GivenPrompts
from sam_batch.prompts.formats import FORMATS, Reader, format_of, open_reader, require_known
from sam_batch.prompts.items import Category

REQUESTS = 16  # in flight: object stores answer slowly, not narrowly


def read_prompts(config: Config, listed: Sequence[Entry], known: Sequence[Category] = ()) -> GivenPrompts:
    """Read the prompts of a job and put them to its images.

    Args:
        config: The job.
        listed: All images of its input.
        known: Categories of its plan, which keep their numbers.

    Raises:
        NotFoundError: A source does not exist.
        ConfigError: A source cannot be read or understood, or not be put to the images; says where and why.
    """
    settings, storage = config.prompts, config.storage
    require_known(settings.format)
    collector = Collector(settings, known)
    readers: dict[str, Reader] = {}
    try:
        if settings.dataset is not None:
            with closing(open_stream(settings.dataset, storage)) as file:
                collector.add(CocoReader(settings).read_names(settings.dataset, file))
        for uri in settings.uris:
            name = format_of(uri, settings.format)
            reader = readers.setdefault(name, open_reader(name, settings))
            for place, file in _contents(_files(uri, name, storage), storage, FORMATS[name].is_many_files):
                collector.add(reader.read(place, _unpacked(place, file)))
    except NotFoundError:
        raise
    except (StorageError, ImageError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"prompts.uri: {error}") from error
    return collector.finish(listed)


def _contents(
    files: Iterator[str], storage: StorageConfig, is_many_files: bool
) -> Iterator[tuple[str, io.BufferedReader]]:
    """Each file and its content: a stream, or of many small files the bytes, fetched ahead."""
    if not is_many_files:
        for place in files:
            with closing(open_stream(place, storage)) as file:
                yield place, file
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        while some := list(islice(files, 8 * REQUESTS)):
            for place, data in zip(some, pool.map(lambda one: read_uri(one, storage), some), strict=True):
                yield place, io.BufferedReader(io.BytesIO(data))


def _unpacked(uri: str, file: io.BufferedReader) -> io.BufferedReader:
    return io.BufferedReader(gzip.GzipFile(fileobj=file)) if uri.endswith(".gz") else file


def _files(uri: str, name: str, storage: StorageConfig) -> Iterator[str]:
    """The file that a URI names, or those of a format in a folder, or those that a glob matches, in their order.

    A file that describes a folder stands for it.
    """
    format_ = FORMATS[name]
    try:
        file = stat_uri(uri, storage).uri
        if not (format_.is_many_files and file.endswith(format_.first)):
            yield file
            return
        root, pattern = posixpath.dirname(file), "**"
    except NotFoundError:
        root, pattern = (uri, "**") if open_storage(uri, storage).is_folder() else globs.split(uri)
        if not pattern:
            raise
    matching = globs.Globs([pattern])
    entries = open_storage(root, storage).find(Walk(matching.recursive))
    keys = {entry.key: entry.uri for entry in entries if matching.match(entry.key)}
    files = [
        address
        for key, address in keys.items()
        if key.removesuffix(".gz").endswith(format_.extensions)
        and not re.fullmatch(format_.passed_over, posixpath.basename(key))
    ]
    if not files:
        raise NotFoundError(f"{shown(uri)} holds no file of prompts ({', '.join(format_.extensions)})")
    yield from sorted(files, key=lambda file: (not file.endswith(format_.first or ("",)), file))
