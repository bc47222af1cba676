"""Files of weights, read without running anything in them.

Two formats: safetensors, and what `torch.save` writes, through torch's weights-only reader. What a file is, its first
bytes say, not its name. Which model the tensors belong to is `checkpoints`' business.
"""

import hashlib
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sam_batch.errors import CheckpointError

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6
_AGAIN = "download or save it again"
# What the two readers raise at damaged and hostile files; they promise nothing narrower.
_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    AssertionError, MemoryError, OSError, struct.error, safetensors.SafetensorError,
)  # fmt: skip


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


def read_state(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors by name, still backed by the file where the format allows it.

    Raises:
        CheckpointError: The file is empty, damaged, no checkpoint, or holds more than tensors.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path}: is empty; {_AGAIN}")
    state = _reader(path, head)(path)
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not tensors by name; save model.state_dict()")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or not value.is_floating_point():
            raise CheckpointError(f"{path}: {name!r} is no floating-point tensor; save model.state_dict()")
    return state


def require_finite(state: dict[str, Tensor], path: Path) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        CheckpointError: Some do; the message names the first.
    """
    for name, tensor in state.items():
        if not is_finite(tensor):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; use a checkpoint of an earlier step")


def is_finite(values: Tensor) -> bool:
    """Whether there is no NaN and no infinity, in one pass and without a mask of that size."""
    return not values.numel() or bool(torch.stack(torch.aminmax(values)).isfinite().all())


def _reader(path: Path, head: bytes) -> Callable[[Path], Any]:
    if head.startswith((_ZIP, _LEGACY)):
        return _read_torch
    if head[8:9] == b"{":
        return _read_safetensors
    what = "a web page" if head.lstrip().lower().startswith((b"<!doctype", b"<html")) else "no checkpoint"
    raise CheckpointError(f"{path}: is {what} (it begins with {head[:16]!r}); {_AGAIN}")


def _read_torch(path: Path) -> Any:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of unusual pickles before it refuses them
            # Only what is a zip can be mapped; and given a path, torch takes its suffix for the format.
            if file.read(4) == _ZIP and path.suffix != ".safetensors":
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CheckpointError(f"{path}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return f"holds more than tensors, and running it is refused ({_first_line(error)}); save model.state_dict()"
    return f"is damaged ({_first_line(error)}); {_AGAIN}"


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except _UNREADABLE as error:
        raise CheckpointError(f"{path}: is damaged ({_first_line(error)}); {_AGAIN}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
