"""Weights by name, path or URL: found, hashed, and said what they are, once, on the driver, before any worker starts.

A file whose hash is a published one needs no further look. Any other is read once in full, by `model.recognise`, and
only then is torch imported. `model.load` makes modules of what was resolved.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from sam_batch.errors import CheckpointError
from sam_batch.model.families import expected_sha256, model_of, models, published
from sam_batch.model.family import Model
from sam_batch.model.fetch import fetch, is_url

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResolvedCheckpoint:
    """Weights that were found and checked on the driver, as every worker is told of them; picklable.

    Attributes:
        name: Which model they are of.
        path: Where the driver has them.
        sha256: Of the file, hexadecimal; empty for no weights.
        image_side: S, the side of the square model input in pixels.
        url: Where a worker on another machine gets them; None for a path, which must exist there too.
    """

    name: str
    path: str
    sha256: str
    image_side: int
    url: str | None = None


def resolve_checkpoint(name: str, checkpoint: str = "auto", sha256: str | None = None) -> ResolvedCheckpoint:
    """Find weights, fetch them if need be, and check them as far as loading would.

    Args:
        name: Of a model, or auto to take what the weights are.
        checkpoint: A path, a URL, or auto for the published weights of the model.
        sha256: Refuse the file unless it has this hash, hexadecimal.

    Raises:
        CheckpointError: They are missing, damaged, unsafe, of no model known here, or not what the name says.
    """
    source = model_of(name).source if checkpoint == "auto" else checkpoint
    expected = sha256 or (model_of(name).sha256 if checkpoint == "auto" else expected_sha256(source))
    url = source if is_url(source) else None
    path = Path(source).expanduser() if url is None else fetch(url, expected)
    digest = require_sha256(path, expected)
    model = published(digest) or _read(path)
    _refuse_other_name(name, model, path)
    return ResolvedCheckpoint(model.name, str(path), digest, model.image_side, url)


def known_sha256(name: str, checkpoint: str = "auto", sha256: str | None = None) -> str | None:
    """The hash of weights that are not fetched, nor looked into, for it; None where only that would tell.

    Raises:
        CheckpointError: The file is missing or another than was expected, or published as another model than `name`.
    """
    if checkpoint == "auto":
        return sha256 or model_of(name).sha256
    if is_url(checkpoint):
        return sha256 or expected_sha256(checkpoint)
    path = Path(checkpoint).expanduser()
    digest = require_sha256(path, sha256)
    model = published(digest)
    if model is not None:
        _refuse_other_name(name, model, path)
    return digest


def _refuse_other_name(name: str, model: Model, path: Path) -> None:
    if name not in ("auto", model.name):
        raise CheckpointError(
            f"{path}: model.name is {name}, but these weights are {model.name}; "
            f"set model.name={model.name} or give other weights"
        )


def _read(path: Path) -> Model:
    """What the tensors say, all of which are looked at."""
    from sam_batch.model.recognise import read_weights, require_finite

    weights = read_weights(path)
    require_finite(weights.state, path)
    if weights.note:
        _log.warning("%s: %s", path, weights.note)
    return weights.model


def find_here(checkpoint: ResolvedCheckpoint) -> Path:
    """The resolved file on this machine, fetched once more where it lacks the driver's.

    Raises:
        CheckpointError: There is none, or it is not what was resolved.
    """
    path = Path(checkpoint.path)
    if not path.exists():
        packaged = (one.source for one in models() if one.sha256 == checkpoint.sha256 and not is_url(one.source))
        path = Path(next(packaged, path))  # the package may be installed elsewhere here
    if not path.exists() and checkpoint.url is not None:
        path = fetch(checkpoint.url, checkpoint.sha256)
    require_sha256(path, checkpoint.sha256)
    return path


def require_sha256(path: Path, expected: str | None) -> str:
    """The hash of a file, hexadecimal; reads all of it.

    Raises:
        CheckpointError: The file cannot be read, or another hash was expected.
    """
    digest = sha256_of(path)
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"{path}: is damaged or another file: its sha256 is {digest}, expected {expected}; "
            "download it again, or give the file's own hash as model.sha256"
        )
    return digest


def sha256_of(path: Path) -> str:
    """The file's sha256, hexadecimal.

    Raises:
        CheckpointError: There is no such file, or it cannot be read.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; name the file of weights in it")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check model.checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
