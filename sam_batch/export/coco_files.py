"""COCO files on their way: masks as they come, images behind them, another file where one has become large.

Memory holds neither, a local folder does. What stands in them, `sam_batch.export.coco` says.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, Final

from sam_batch.data.storage import Storage
from sam_batch.errors import StorageError

ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # `dumps` makes one a call, which is dear
BETWEEN: Final = b",\n"


def as_json(value: Any) -> bytes:
    """JSON in ASCII.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    return ENCODER.encode(value).encode("ascii")


@contextmanager
def open_files(storage: Storage, stem: str, max_bytes: int | None) -> Iterator["CocoFiles"]:
    """Start files, which share a local folder until they are finished.

    Args:
        storage: Where they go.
        stem: Of their keys: `coco/annotations`.
        max_bytes: How large one may become, though a single image may be larger; None for one file in any case.
    """
    with scratch_folder() as spool:
        files = CocoFiles(storage, stem, max_bytes, spool)
        try:
            yield files
        finally:
            files.close()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A local folder for files that are not finished."""
    with scratch():
        folder = TemporaryDirectory()
    with folder as path:
        yield Path(path)


@contextmanager
def scratch() -> Iterator[None]:
    """What goes wrong with local files inside is this machine's disk, and a `StorageError`."""
    try:
        yield
    except OSError as error:  # the storage's own are translated already
        reason = error.strerror or error
        raise StorageError(
            f"cannot write an export's scratch files: {reason}; TMPDIR may name another folder"
        ) from error


class CocoFiles:
    """Each complete in itself. The first is put into the storage last: where it exists, all do.

    Attributes:
        rest: What each file says besides of annotations and images.
    """

    def __init__(self, storage: Storage, stem: str, max_bytes: int | None, spool: Path) -> None:
        self._storage, self._stem, self._max_bytes, self._spool = storage, stem, max_bytes, spool
        self.rest: dict[str, Any] = {}
        self._files: list[_File] = []
        self._keys: list[str] = []

    def add(self, image: bytes, masks: Sequence[bytes]) -> None:
        """Take an image and its masks, as JSON; texts of several masks have `BETWEEN` between them.

        Raises:
            StorageError: A file cannot be written, or scratch space for it.
        """
        size = sum(len(text) + len(BETWEEN) for text in (image, *masks))
        if not self._files or self._is_full(self._files[-1], size):
            if len(self._files) > 1:
                self._put(self._files.pop())
            self._open_file()
        with scratch():
            self._files[-1].add(image, masks, size)

    def finish(self) -> list[str]:
        """Complete the files.

        Returns:
            Their keys: `<stem>.json`, or `<stem>-00000.json` and so on.
        """
        if not self._files:
            self._open_file()
        if len(self._files) > 1:
            self._put(self._files.pop())
        self._keys.insert(0, f"{self._stem}-00000.json" if self._keys else f"{self._stem}.json")
        with scratch():
            self._files[0].close()
        self._storage.put_file(self._keys[0], self._files[0].path)
        return self._keys

    def close(self) -> None:
        """Let go of files that were not completed."""
        for file in self._files:
            file.discard()

    def _is_full(self, file: "_File", size: int) -> bool:
        return self._max_bytes is not None and file.has_images and file.size + size > self._max_bytes

    def _open_file(self) -> None:
        """The first one stays until the end; each of the others replaces the one before."""
        with scratch():
            self._files.append(_File(self._spool / f"{min(len(self._files), 1)}.json", self.rest))

    def _put(self, file: "_File") -> None:
        with scratch():
            file.close()
        self._keys.append(f"{self._stem}-{len(self._keys) + 1:05d}.json")
        self._storage.put_file(self._keys[-1], file.path)


class _File:
    """One COCO file: masks as they come; the shorter list of images waits beside and follows.

    Attributes:
        path: Of the file.
        size: Its bytes, once closed.
        has_images: At least one.
    """

    def __init__(self, path: Path, rest: dict[str, Any]) -> None:
        opening, self._middle = b'{"annotations":[\n', b'\n],"images":[\n'
        self._closing = b"\n]," + as_json(rest).removeprefix(b"{") + b"\n"
        self.path, self.has_images = path, False
        self.size = len(opening) + len(self._middle) + len(self._closing)
        self._masks, self._images = path.open("wb"), TemporaryFile()  # noqa: SIM115 - closed by close or discard
        self._masks.write(opening)
        self._between = b""

    def add(self, image: bytes, masks: Sequence[bytes], size: int) -> None:
        """Append an image of so many bytes."""
        self._images.write(BETWEEN * self.has_images + image)
        for mask in masks:
            self._masks.write(self._between + mask)
            self._between = BETWEEN
        self.has_images, self.size = True, self.size + size

    def discard(self) -> None:
        """Close it as it is."""
        for file in (self._masks, self._images):
            with suppress(OSError):  # what could not be written is of no use to anybody
                file.close()

    def close(self) -> None:
        """Complete it."""
        self._images.seek(0)
        self._masks.write(self._middle)
        shutil.copyfileobj(self._images, self._masks)
        self._masks.write(self._closing)
        self._masks.close()
        self._images.close()
