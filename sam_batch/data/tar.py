"""Members of tar archives, found once and then read alone: shards of images as WebDataset lays them out.

A member's URI holds all that is needed to read it: `tar://<archive>!<name>#<offset>+<size>`, the archive by its own URI
or path, with `%`, `!` and `#` escaped in both. This module reads through functions that it is given and opens nothing.
"""

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote

from sam_batch.data.readers import formats

HEADER = tarfile.BLOCKSIZE
_URI = re.compile(r"tar://(?P<archive>[^!#]+)!(?P<name>[^!#]*)#(?P<offset>\d+)\+(?P<size>\d+)", re.DOTALL)


class Kind(Enum):
    """What a member is."""

    FILE = auto()
    LINK = auto()
    OTHER = auto()  # a folder, a device, a file with holes


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive.

    Attributes:
        name: As `os.fsdecode` would give it, without `./` before it.
        kind: Only files have bytes of their own.
        offset: Of its bytes in the archive.
        size: In bytes.
    """

    name: str
    kind: Kind
    offset: int
    size: int


class DamagedTarError(Exception):
    """What was read as a tar archive is none, or ends before its end."""


def members(read: Callable[[int, int], bytes], size: int, block: int) -> Iterator[Member]:
    """All members of an archive, read in blocks; what lies between the headers is skipped where it is longer.

    Args:
        read: The bytes from an offset on, as many as asked for or as there are.
        size: Of the archive.
        block: Bytes to ask for at once.

    Raises:
        DamagedTarError: It is no tar archive, is compressed, or is damaged; the members before that were yielded.
    """
    ranges = _Ranges(read, size)
    try:
        archive = tarfile.TarFile(fileobj=io.BufferedReader(ranges, block), mode="r")
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep all that it has seen
            if member.offset_data + member.size > size and member.isreg():
                raise DamagedTarError(f"it ends within {member.name!r}")
            yield Member(member.name.removeprefix("./"), _kind_of(member), member.offset_data, member.size)
    except (tarfile.TarError, EOFError) as error:
        raise DamagedTarError(_reason(ranges.at(0, 512), error)) from error
    # Where a header is damaged the library stops as if it were the end, which is marked by zeros.
    if ranges.at(archive.offset, HEADER).strip(b"\0"):
        raise DamagedTarError(f"it is damaged at byte {archive.offset:,}")


def _kind_of(member: tarfile.TarInfo) -> Kind:
    if member.issym() or member.islnk():
        return Kind.LINK
    return Kind.FILE if member.isreg() and not member.issparse() else Kind.OTHER


def _reason(head: bytes, error: Exception) -> str:
    seems = formats.seems(head)
    if seems.startswith("compressed"):
        return f"it is {seems}, of which no member can be read alone; unpack it to a plain .tar"
    return f"it is {seems}" if seems and "tar" not in seems else str(error)


class _Ranges(io.RawIOBase):
    """A stream over reads at offsets."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._position = 0

    def at(self, offset: int, wanted: int) -> bytes:
        """The bytes from an offset on, as many as there are."""
        wanted = min(wanted, self._size - offset)
        return self._read(offset, wanted) if wanted > 0 else b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def member_uri(archive: str, name: str, offset: int, size: int) -> str:
    """The URI of a member's bytes."""
    return f"tar://{_escaped(archive)}!{_escaped(name)}#{offset}+{size}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("!", "%21").replace("#", "%23")


def split_uri(uri: str) -> tuple[str, Member] | None:
    """The archive and the member that a URI names; None for the URI of something else."""
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    archive, name = unquote(match["archive"]), unquote(match["name"])
    return archive, Member(name, Kind.FILE, int(match["offset"]), int(match["size"]))


def check_header(header: bytes, member: Member) -> bool:
    """Whether the block before a member's bytes is still its header; a long or foreign name is not in it."""
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    name = found.name.removeprefix("./")
    is_short = member.name.isascii() and len(member.name) < tarfile.LENGTH_NAME - len("./")
    return found.size == member.size and (not is_short or name == member.name)
