"""A visitor's photograph, uploaded or named, held to the limits of a job; and how it is sent to a browser.

It keeps nothing: what is uploaded is decoded and never written.
"""

import hashlib
import posixpath
from dataclasses import dataclass, field

from sam_batch.config import Config
from sam_batch.data import pixels
from sam_batch.data.storage import locate, read_uri, shown
from sam_batch.errors import FailureKind, ImageError, InputError, StorageError
from sam_batch.records import UInt8Array
from sam_batch.report.pictures import thumbnail

SIDE = 1600  # pixels of the longer side, as a browser gets it


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """A decoded image.

    Attributes:
        name: Of its file, any text.
        uri: Where a job would find it; its name alone, if it was uploaded.
        sha256: Of its file.
        rgb_HW3: (H, W, 3) uint8 RGB.
    """

    name: str
    uri: str
    sha256: str
    rgb_HW3: UInt8Array = field(repr=False)

    @property
    def was_uploaded(self) -> bool:
        """Whether no job can find it without being told where it is."""
        return self.uri == self.name

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.rgb_HW3.shape[0], self.rgb_HW3.shape[1]

    @property
    def scale(self) -> float:
        """Pixels of the photograph a pixel of its `picture`."""
        return max(1.0, max(self.rgb_HW3.shape) / SIDE)

    def picture(self) -> str:
        """The photograph as a `data:` address of a JPEG."""
        return sendable(self.rgb_HW3)


def sendable(rgb_HW3: UInt8Array) -> str:
    """Pixels as a `data:` address of a JPEG of at most `SIDE` pixels a side."""
    return thumbnail(rgb_HW3, SIDE)


def read_upload(name: str, data: bytes, config: Config) -> Photograph:
    """Decode what a visitor sent.

    Args:
        name: As the visitor's browser says; any text.
        data: The whole file.
        config: Its section `input` says what is too large, and what pixels mean.

    Raises:
        InputError: It is too large, or no image that can be read.
    """
    most = config.input.max_bytes
    try:
        if len(data) > most:
            raise ImageError(FailureKind.TOO_MANY_BYTES, f"{len(data)} bytes; at most {most} are allowed")
        return _decoded(name, name, data, config)
    except ImageError as error:
        raise InputError(f"{shown(name)}: {error}") from error


def read_place(place: str, config: Config) -> Photograph:
    """Read and decode an image of this machine's, or of a bucket.

    Args:
        place: Path or URI.
        config: As for `read_upload`, and how object stores are reached.

    Raises:
        InputError: It cannot be read, is too large, or no image.
        ConfigError: It is no place that is read here.
    """
    entry = locate(place, config.storage)
    try:
        data = read_uri(entry.uri, config.storage, config.input.max_bytes)
        return _decoded(posixpath.basename(entry.key), entry.uri, data, config)
    except ImageError as error:
        raise InputError(f"{shown(place)}: {error}") from error
    except StorageError as error:
        raise InputError(str(error)) from error


def _decoded(name: str, uri: str, data: bytes, config: Config) -> Photograph:
    rgb_HW3 = pixels.decode(data, config.input).rgb_HW3
    return Photograph(name, uri, hashlib.sha256(data).hexdigest(), rgb_HW3)
