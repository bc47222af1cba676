"""What a device can do, and what segment-anything's model asks of it, for a measurement to be read against.

It is no bound for what does less work than the published model. Operations and bytes are counted on torch's meta
device, which knows shapes and has no numbers. Post-processing is not in the count.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.stopwatch import synchronise

_TOKENS = 2  # of one point: itself and a padding point
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Work:
    """Operations (a multiplication and an addition are two), and bytes that operators read and write one by one."""

    flops: float
    bytes: float


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second in a product of two square matrices; the best of a few tries."""
    side = 8192 if device.type == "cuda" else 1536
    matrix = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / _best(lambda: matrix @ matrix, device)


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, in a copy that no cache can hold."""
    source = torch.ones((1 << 30) if device.type == "cuda" else (1 << 28), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / _best(lambda: target.copy_(source), device)


def work_of_encoder(sam: Sam) -> Work:
    """Of one image. The model must be on the meta device."""
    side = sam.image_encoder.img_size
    image = torch.empty((1, 3, side, side), device="meta")
    return _count(lambda: sam.image_encoder(image))


def work_of_decoder(sam: Sam, prompts: int) -> Work:
    """Of one batch of point prompts. The model must be on the meta device."""
    channels, cells = sam.prompt_encoder.embed_dim, sam.prompt_encoder.image_embedding_size
    image = torch.empty((1, channels, *cells), device="meta")
    sparse = torch.empty((prompts, _TOKENS, channels), device="meta")
    dense = torch.empty((prompts, channels, *cells), device="meta")
    return _count(lambda: sam.mask_decoder.predict_masks(image, torch.empty_like(image), sparse, dense))


def _best(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the quickest call, after one that warms up."""
    function()
    seconds = []
    for _ in range(_TRIES):
        synchronise(device)
        started = time.perf_counter()
        function()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@torch.no_grad()
def _count(function: Callable[[], Any]) -> Work:
    # One count after the other: the two modes hide operators from each other.
    with FlopCounterMode(display=False) as flops:
        function()
    with _Traffic() as traffic:
        function()
    return Work(float(flops.get_total_flops()), float(traffic.bytes))


class _Traffic(TorchDispatchMode):
    """Bytes that go into and out of every operator, except those that only look at memory in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            touched = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor)]
            self.bytes += sum(one.numel() * one.element_size() for one in touched)
        return result
