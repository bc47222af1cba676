"""Views as an engine wants them: on its device, normalised and padded."""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sam_batch.engine.protocol import EngineSpec
from sam_batch.records import UInt8Array, View


class Normaliser:
    """Preprocesses batches of views; on CUDA on a stream of its own, so that another thread's work goes on meanwhile.

    Args:
        spec: Of the engine.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._streams: tuple[torch.cuda.Stream, torch.cuda.Stream] | None = None
        if spec.on_gpu:
            own = torch.cuda.Stream(spec.device)  # type: ignore[no-untyped-call]  # torch has no types for it
            self._streams = torch.cuda.current_stream(spec.device), own

    @torch.inference_mode()
    def __call__(self, views: Sequence[View]) -> Tensor:
        """Preprocess views; returns when they are ready for use on the stream that was current when this was made.

        Returns:
            (N, 3, S, S) float32 on the engine's device.
        """
        if self._streams is None:
            return torch.cat([preprocess(view.pixels, self._spec) for view in views])
        user, own = self._streams
        with torch.cuda.stream(own):
            images_N3SS = torch.cat([preprocess(view.pixels, self._spec) for view in views])
        images_N3SS.record_stream(user)  # so that their memory is not given to another batch while they are in use
        own.synchronize()
        return images_N3SS


def preprocess(pixels_hw3: UInt8Array, spec: EngineSpec) -> Tensor:
    """Normalise a view and pad it with zeros at the right and bottom; segment-anything's `Sam.preprocess`.

    Returns:
        (1, 3, S, S) float32 on the engine's device.
    """
    mean_311, std_311 = _colors(spec)
    pixels_3hw = _on_device(pixels_hw3, spec).permute(2, 0, 1).contiguous()
    normalised_3hw = (pixels_3hw - mean_311) / std_311
    height, width = normalised_3hw.shape[1:]
    return F.pad(normalised_3hw, (0, spec.image_side - width, 0, spec.image_side - height))[None]


@cache
def _colors(spec: EngineSpec) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) mean and standard deviation on the engine's device: the CPU waits for such a copy, so there is one."""
    mean_3, std_3 = (torch.tensor(one, device=spec.device) for one in (spec.pixel_mean, spec.pixel_std))
    return mean_3[:, None, None], std_3[:, None, None]


def _on_device(pixels_hw3: UInt8Array, spec: EngineSpec) -> Tensor:
    """A copy, as bytes: on CUDA by way of pinned memory, from which the device reads by itself."""
    if not spec.on_gpu:
        return torch.tensor(pixels_hw3)
    pinned_hw3 = torch.empty(pixels_hw3.shape, dtype=torch.uint8, pin_memory=True)
    pinned_hw3.numpy()[:] = pixels_hw3
    return pinned_hw3.to(spec.device, non_blocking=True)
