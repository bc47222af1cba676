"""Files of weights, read without running anything in them.

Two formats: safetensors, and what `torch.save` writes, through torch's weights-only reader. What a file is, its first
bytes say, not its name. Which model the tensors belong to is another module's business.
"""

import json
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
_LARGEST_INDEX = 1 << 26  # bytes
# What the two readers raise at damaged and hostile files; they promise nothing narrower.
_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    AssertionError, MemoryError, OSError, struct.error, safetensors.SafetensorError,
)  # fmt: skip


def read_tree(path: Path) -> dict[Any, Any]:
    """What a file of weights holds: tensors by name, or whatever else a trainer has saved, but no code.

    Tensors are still backed by the file where the format allows it.

    Raises:
        CheckpointError: The file is empty, damaged, no checkpoint, or could run something.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path}: is empty; {_AGAIN}")
    tree = _reader(path, head)(path)
    if not isinstance(tree, dict) or not tree:
        raise CheckpointError(f"{path}: holds a {type(tree).__name__}, not tensors by name; save model.state_dict()")
    return tree


def is_finite(values: Tensor) -> bool:
    """Whether there is no NaN and no infinity, in one pass and without a mask of that size."""
    return not values.numel() or bool(torch.stack(torch.aminmax(values)).isfinite().all())


def _reader(path: Path, head: bytes) -> Callable[[Path], Any]:
    if head.startswith((_ZIP, _LEGACY)):
        return _read_torch
    if head[8:9] == b"{":
        return _read_safetensors
    if head.lstrip().startswith(b"{"):
        _refuse_index(path)
    what = "a web page" if head.lstrip().lower().startswith((b"<!doctype", b"<html")) else "no checkpoint"
    raise CheckpointError(f"{path}: is {what} (it begins with {head[:16]!r}); {_AGAIN}")


def _refuse_index(path: Path) -> None:
    """Say of Hugging Face's index of weights in several files that it is one."""
    try:
        with path.open("rb") as file:
            files = sorted(set(json.loads(file.read(_LARGEST_INDEX))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    raise CheckpointError(
        f"{path}: is the index of weights in {len(files)} files ({', '.join(map(str, files[:3]))}); "
        "put their tensors into one file (safetensors.torch.save_file), and name that"
    )


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
    if "TorchScript" in str(error):
        return "is a TorchScript program, and running it is refused; save model.state_dict()"
    return f"is damaged ({_first_line(error)}); {_AGAIN}"


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except _UNREADABLE as error:
        raise CheckpointError(f"{path}: is damaged ({_first_line(error)}); {_AGAIN}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
