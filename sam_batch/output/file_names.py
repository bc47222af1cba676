"""Whether an output can hold the files of all its images: refused before work, where its file system cannot.

Names depend on keys alone, so they are not bent to a file system: two outputs of one input have equal names.
"""

from collections.abc import Sequence
from itertools import chain, islice

from sam_batch.data.naming import STRICTEST
from sam_batch.data.storage import Storage, shown
from sam_batch.errors import OutputError

_REMEDY = (
    "choose an output on another file system, name the images otherwise by a manifest with a column key, or write no "
    "pictures (output.color_masks.enabled=false output.segments.enabled=false)"
)
_NAMED = 3


def refuse_unwritable(storage: Storage, names: Sequence[str]) -> None:
    """Refuse an output whose file system does not take the names of its files, or takes two for one.

    What it takes is tried out only where there is a name that some file system does not take.

    Raises:
        OutputError: Naming the first of them.
        StorageError: The output cannot be written.
    """
    if not any(chain(STRICTEST.unusable(names), STRICTEST.clashes(names))):
        return
    naming = storage.naming()
    some = [f"{shown(name)} ({reason})" for name, reason in islice(naming.unusable(names), _NAMED)]
    if some:
        raise OutputError(f"output.uri: the file system of {storage.root} does not take {', '.join(some)}; {_REMEDY}")
    pairs = [f"{shown(one)} and {shown(other)}" for one, other in islice(naming.clashes(names), _NAMED)]
    if pairs:
        raise OutputError(
            f"output.uri: the file system of {storage.root} takes for one what differs in upper and lower case or in "
            f"the form of accents: {', '.join(pairs)}; {_REMEDY}"
        )
