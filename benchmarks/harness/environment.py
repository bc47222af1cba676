"""What a figure depends on beside the program that measured it: a part of every benchmark's JSON line."""

import platform
from typing import Any

import torch

from sam_batch.masks.kernels import choose


def describe(device: str | torch.device) -> str:
    """A device in words: a GPU's name, or the threads of a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} threads of {platform.machine()}"


def environment(device: str | torch.device | None) -> dict[str, Any]:
    """The release and the threads of torch in this process, and how masks are made from logits on a device.

    Args:
        device: Where this package makes masks; None if it makes none.
    """
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "postprocessing": None if device is None else choose.describe(device),
    }
