"""The photographs beside an export's annotations: linked, copied, or as they were labelled.

Programs that do not turn a picture by its EXIF orientation see it askew to its masks, and many read neither TIFF, HEIC
nor 16 bits. `oriented` is for them: a JPEG or PNG that is what it seems is copied, and all else becomes a PNG of the
pixels that the masks were found in.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import cv2

from sam_batch.config_output import ImagesMode
from sam_batch.data import pixels
from sam_batch.data.readers.formats import format_of
from sam_batch.data.storage import Storage, read_uri, shown
from sam_batch.errors import ImageError, JobError, NotFoundError, PermissionDeniedError, StorageError
from sam_batch.output import layout
from sam_batch.output.fingerprint import decoding_of
from sam_batch.output.plan import Plan
from sam_batch.records import PixelNote

THREADS: Final = 16  # pictures at once
_READ_EVERYWHERE: Final = ("JPEG", "PNG")
Made = TypeVar("Made")


def some_at_once(work: Callable[[dict[str, Any]], Made], rows: Sequence[dict[str, Any]]) -> Iterator[list[Made]]:
    """What is made of each row, in order, `THREADS` at a time: more photographs are never in memory."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(rows), THREADS):
            yield list(pool.map(work, rows[start : start + THREADS]))


class Pictures:
    """Puts photographs into an export.

    Args:
        storage: Of the output.
        mode: What is put.
        plan: Of the output, which says how they were decoded.
        remedy: What to do where one is gone.
    """

    def __init__(
        self, storage: Storage, mode: ImagesMode, plan: Plan | None, remedy: str = "the format coco does without"
    ) -> None:
        self._storage, self._mode, self._remedy = storage, mode, remedy
        self._decoding = decoding_of(plan.fingerprint if plan else {})

    def put(self, row: dict[str, Any], folder: str) -> str:
        """Put the photograph of a row.

        Args:
            row: Of an image that was decoded.
            folder: Of the output.

        Returns:
            Its key.

        Raises:
            JobError: It is gone, another than was labelled, or cannot be linked.
            StorageError: It cannot be read or written.
        """
        data, is_new = self.load(row)
        key = layout.picture_key(folder, row["key"], is_png=is_new)
        if self._mode == "link":
            self._link(key, row["uri"])
        else:
            self._storage.write(key, data)
        return key

    def load(self, row: dict[str, Any]) -> tuple[bytes, bool]:
        """The bytes of a photograph, and whether they are a new PNG; raises as `put` does."""
        data = self._read(row)
        if self._mode != "oriented":
            return data, False
        decoded = pixels.decode(data, self._decoding)
        is_upright = decoded.orientation == 1 and not set(decoded.notes) - {PixelNote.PROFILE_IGNORED}
        if is_upright and format_of(data) in _READ_EVERYWHERE:
            return data, False
        _, png = cv2.imencode(".png", cv2.cvtColor(decoded.rgb_HW3, cv2.COLOR_RGB2BGR))
        return png.tobytes(), True

    def _link(self, key: str, uri: str) -> None:
        try:
            self._storage.link(key, uri)
        except StorageError as error:
            raise JobError(f"{error}; images=copy makes copies") from error

    def _read(self, row: dict[str, Any]) -> bytes:
        try:
            data = read_uri(row["uri"], self._storage.config)
        except (ImageError, NotFoundError, PermissionDeniedError) as error:
            raise JobError(f"{error}; {self._remedy}") from error
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise JobError(f"{shown(row['uri'])}: was replaced since it was labelled; run the job again first")
        return data
