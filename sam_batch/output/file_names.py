"""Whether an output can hold the files of all its images: refused before work, where its file system cannot.

Names depend on keys alone, so they are not bent to a file system: two outputs of one input have equal names.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from sam_batch.data.naming import STRICTEST, Naming
from sam_batch.data.packed import repeated
from sam_batch.data.storage import Storage, shown
from sam_batch.errors import OutputError

_REMEDY = (
    "choose an output on another file system, name the images otherwise by a manifest with a column key, or write no "
    "pictures (output.color_masks.enabled=false output.segments.enabled=false)"
)
_NAMED = 3
_PLAIN = r"^([A-Za-z0-9_-]([A-Za-z0-9_ .-]*[A-Za-z0-9_-])?/)*[A-Za-z0-9_-]([A-Za-z0-9_ .-]*[A-Za-z0-9_-])?$"


def refuse_unwritable(storage: Storage, names: Callable[[], Iterable[pa.ChunkedArray]]) -> None:
    """Refuse an output whose file system does not take the names of its files, or takes two for one.

    What it takes is tried out only where there is a name that some file system does not take.

    Args:
        storage: The output.
        names: Gives all names, in blocks; asked again where some may be one to a file system.

    Raises:
        OutputError: Naming the first of them.
        StorageError: The output cannot be written.
    """
    naming: Naming | None = None
    hashes = array("q")  # of names that many file systems take for one
    for block in names():
        hashes.extend(map(hash, _folded(block)))
        if odd := _odd(block):
            naming = naming or storage.naming()
            _refuse_unusable(storage, naming, odd)
    alike = repeated(hashes)
    if not len(alike):
        return
    candidates = (zip(_folded(block), block.to_pylist(), strict=True) for block in names())
    pairs = sorted({name for block in candidates for folded, name in block if hash(folded) in alike})
    if any(STRICTEST.clashes(pairs)):
        _refuse_clashes(storage, naming or storage.naming(), pairs)


def _folded(names: pa.ChunkedArray) -> Iterator[str]:
    """Names as those file systems see them that tell the fewest apart."""
    if pc.all(pc.string_is_ascii(names), min_count=0).as_py():
        return iter(pc.ascii_lower(names).to_pylist())
    return map(STRICTEST.folded, names.to_pylist())


def _odd(names: pa.ChunkedArray) -> list[str]:
    """The names that some file system does not take."""
    is_plain = pc.and_(pc.match_substring_regex(names, _PLAIN), pc.less(pc.binary_length(names), STRICTEST.longest))
    return [name for name, _ in STRICTEST.unusable(names.filter(pc.invert(is_plain)).to_pylist())]


def _refuse_unusable(storage: Storage, naming: Naming, names: Iterable[str]) -> None:
    some = [f"{shown(name)} ({reason})" for name, reason in islice(naming.unusable(names), _NAMED)]
    if some:
        raise OutputError(f"output.uri: the file system of {storage.root} does not take {', '.join(some)}; {_REMEDY}")


def _refuse_clashes(storage: Storage, naming: Naming, names: Iterable[str]) -> None:
    pairs = [f"{shown(one)} and {shown(other)}" for one, other in islice(naming.clashes(names), _NAMED)]
    if pairs:
        raise OutputError(
            f"output.uri: the file system of {storage.root} takes for one what differs in upper and lower case or in "
            f"the form of accents: {', '.join(pairs)}; {_REMEDY}"
        )
