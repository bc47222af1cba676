"""The cut-outs of a shard in one tar: its bytes, made and read. Where it lies, and what is in it, others decide."""

import io
import tarfile
from collections.abc import Iterable, Iterator


def tar_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Pack (name, content) pairs, in order, without owners and times: the same members give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def tar_members(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """What `tar_bytes` packed, in order."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:  # a folder, which we do not pack
                yield member.name, content.read()
