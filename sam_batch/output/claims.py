"""Which exports lie in an output: each has a receipt in its folder, without which the folder is not ours.

A receipt is written before a format's first file, which claims the folder, and once more when the last file is there,
which completes it. COCO's folder is ours without one, since every job of version 0.1.0 wrote there; `annotations.json`
or `annotations-00000.json` completed it, which came into being last. What names a format uses, `layout` says.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from sam_batch.data.storage import Storage
from sam_batch.errors import NotFoundError
from sam_batch.output import layout

_MARK: Final = "sam_batch.export"
_LAST_OF_COCO: Final = ("coco/annotations.json", "coco/annotations-00000.json")


def claimed(storage: Storage) -> frozenset[str]:
    """The formats whose files in this output are ours."""
    return frozenset(name for name in layout.EXPORTS if name == layout.COCO or read(storage, name) is not None)


def read(storage: Storage, name: str) -> dict[str, Any] | None:
    """A format's receipt: None where there is none, or somebody else's file has its name."""
    try:
        data = storage.read(layout.receipt_key(name))
    except NotFoundError:
        return None
    return json.loads(data) if is_receipt(data) else None


def is_receipt(data: bytes) -> bool:
    """Whether this is a receipt."""
    try:
        receipt = json.loads(data)
    except ValueError:
        return False
    return isinstance(receipt, dict) and _MARK in receipt


def written(name: str, settings: Mapping[str, Any], *, complete: bool) -> bytes:
    """A receipt."""
    return json.dumps({_MARK: name, "complete": complete, "settings": settings}, sort_keys=True).encode() + b"\n"


def is_complete(storage: Storage, name: str, settings: Mapping[str, Any]) -> bool:
    """Whether an output holds all that an export with these settings wrote, and not what an interruption left."""
    receipt = read(storage, name)
    if receipt is not None:
        return receipt.get("complete") is True and receipt.get("settings") == settings
    return name == layout.COCO and any(map(storage.exists, _LAST_OF_COCO))
