"""Images for tests of listings, and short ways to list them."""

import io
import tarfile
from pathlib import Path

from sam_batch.config import InputConfig, StorageConfig
from sam_batch.data.listing import Listing, list_images
from sam_batch.data.storage import Entry, read_uri
from support.s3 import Bucket

CONFIG = StorageConfig()


def make(root: Path, *names: str) -> None:
    """Files whose content is their name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def listed(*uris: Path | str, **options: object) -> list[Entry]:
    return listing(*uris, **options).images


def listing(*uris: Path | str, **options: object) -> Listing:
    return list_images(InputConfig(uri=tuple(map(str, uris)), **options), CONFIG)


def keys(*uris: Path | str, **options: object) -> list[str]:
    return [image.key for image in listed(*uris, **options)]


def content(image: Entry) -> str:
    return read_uri(image.uri, CONFIG).decode()


def put(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=key.encode())


def pack(path: Path, *names: str) -> None:
    """A tar archive of files whose content is their name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name.encode())
            archive.addfile(info, io.BytesIO(name.encode()))
