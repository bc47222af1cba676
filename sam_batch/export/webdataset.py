"""Annotation parts to tar shards as WebDataset reads them: of each image the photograph, and its masks as JSON.

Its readers take what stands before a name's first point for the sample, so members are named by the image's number:
`000000012.jpg` and `000000012.json`. The JSON is SA-1B's, with the key as `file_name`.
"""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from sam_batch.config_output import OutputConfig
from sam_batch.data.storage import Storage
from sam_batch.export.coco_files import as_json, scratch, scratch_folder
from sam_batch.export.numbers import Numbers, decoded_rows
from sam_batch.export.pictures import Pictures, some_at_once
from sam_batch.export.sa1b import as_sa1b
from sam_batch.output import layout
from sam_batch.output.plan import Plan


@contextmanager
def open_webdataset(storage: Storage, config: OutputConfig, plan: Plan | None = None) -> Iterator["WebDatasetExport"]:
    """Start the shards of an output; see `formats.Export`."""
    pictures = Pictures(storage, config.webdataset.images, plan)
    with scratch_folder() as spool:
        yield WebDatasetExport(storage, pictures, Numbers(plan, config.dataset.category), spool)


class WebDatasetExport:
    """Images with and without masks, but failed ones; a tar a part."""

    def __init__(self, storage: Storage, pictures: Pictures, numbers: Numbers, spool: Path) -> None:
        self._storage, self._pictures, self._numbers, self._spool = storage, pictures, numbers, spool
        self._keys: list[str] = []

    def add(self, part: pa.Table) -> None:
        """Write a part's tar, without owners and times.

        Raises:
            StorageError: A file cannot be read or written.
            JobError: A picture is gone, or another than was labelled.
        """
        rows = decoded_rows(part)
        if not rows:
            return
        path = self._spool / "shard.tar"
        with scratch(), tarfile.open(path, "w") as tar:
            for some in some_at_once(self._members, rows):
                for name, content in chain.from_iterable(some):
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
        self._keys.append(f"webdataset/shard-{len(self._keys):05d}.tar")
        self._storage.put_file(self._keys[-1], path)

    def finish(self) -> list[str]:
        """All shards are there already."""
        return self._keys

    def _members(self, row: dict[str, Any]) -> list[tuple[str, bytes]]:
        data, is_new = self._pictures.load(row)
        suffix = ".png" if is_new else layout.picture_suffix(row["key"])
        text = as_json(as_sa1b(row, self._numbers))
        number = f"{self._numbers.image(row['image_id']):09d}"
        return [(f"{number}{suffix}", data), (f"{number}.json", text)]
