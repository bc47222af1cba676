"""Checkpoints by URL: fetched once a machine into a cache, whoever asks first, and checked before they appear."""

import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pooch
from filelock import FileLock

from sam_batch.errors import CheckpointError

RETRIES = 3
TIMEOUT = 60.0  # seconds without a byte


def is_url(checkpoint: str) -> bool:
    """Whether a checkpoint is named by URL rather than by path."""
    return "://" in checkpoint


def fetch(url: str, sha256: str | None, cache: Path | None = None) -> Path:
    """Where the file behind a URL is on this machine, fetched if need be.

    The file appears under its name only when it is whole and, where a hash is known, right. Processes that ask at
    the same time wait for the first.

    Args:
        url: http or https.
        sha256: Hexadecimal, or None if unknown.
        cache: Folder; None for the user's cache folder.

    Raises:
        CheckpointError: It cannot be fetched, or hashes to something else.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise CheckpointError(f"{url}: only http and https are fetched; download it, then model.checkpoint=FILE")
    told = url.partition("?")[0]  # what follows may be a token
    folder = cache or Path(pooch.os_cache("sam-batch"))
    name = _cached_name(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            if not (folder / name).exists():
                _download(url, sha256, folder, name)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        raise CheckpointError(
            f"{told}: cannot be fetched into {folder}: {_cause(error).replace(url, told)}; download it by other means, "
            "then model.checkpoint=FILE"
        ) from error
    return folder / name


def _cause(error: Exception) -> str:
    """The reason alone, of what urllib3 and requests wrap round it."""
    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    words = " ".join(str(getattr(inner, "reason", inner)).split())
    return words.rpartition("): ")[2]  # "HTTPSConnection(host=..., port=443): " goes


def _download(url: str, sha256: str | None, folder: Path, name: str) -> None:
    store = pooch.create(path=folder, base_url="", registry={name: sha256}, urls={name: url}, retry_if_failed=RETRIES)
    store.fetch(name, downloader=pooch.HTTPDownloader(timeout=TIMEOUT))


def _cached_name(url: str) -> str:
    """A file name that no other URL has and a person recognises."""
    readable = PurePosixPath(unquote(urlsplit(url).path)).name or "checkpoint"
    return f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{readable}"
