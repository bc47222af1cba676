"""What an engine is: one SAM on one device, with its mask decoder cut in two halves.

SAM predicts a mask's IoU before it up-scales the mask, so `score` and `finish` are apart: what the IoU threshold
drops is never up-scaled. Engines return low-resolution logits; filtering is written once, outside of them, and two
engines can be compared number by number. Nothing is remembered between calls: embeddings are values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What tells two engines apart, and what callers must know.

    Attributes:
        kind: torch, tensorrt or fake.
        model: demo, vit_b, vit_l or vit_h.
        image_side: S, the side of the square model input in pixels.
        mask_side: h = w, the side of the low-resolution logits.
        pixel_mean: Per RGB channel, in the 0 to 255 range.
        pixel_std: Likewise.
        mask_threshold: Logits above it are mask.
        precision: fp32, bf16 or fp16.
        device: As torch writes it: cpu, cuda:0.
        token_range: The fewest and the most tokens a prompt may have (`Prompts.tokens`); None takes any number.
        takes_masks: Whether prompts may have masks of an earlier round.
    """

    kind: str
    model: str
    image_side: int
    mask_side: int
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    mask_threshold: float
    precision: str
    device: str
    token_range: tuple[int, int] | None = None
    takes_masks: bool = True

    def takes(self, prompts: "Prompts") -> bool:
        """Whether `score` takes prompts of as many tokens, and with masks where they have some."""
        if prompts.masks is not None and not self.takes_masks:
            return False
        return self.token_range is None or self.token_range[0] <= prompts.tokens <= self.token_range[1]

    def refusal(self, prompts: "Prompts") -> str:
        """What it does not take, in words."""
        if prompts.masks is not None and not self.takes_masks:
            return f"this {self.kind} engine takes prompts without masks of an earlier round"
        fewest, most = self.token_range or (prompts.tokens, prompts.tokens)
        several = f"{fewest} to {most}" if fewest < most else f"{most}"
        return (
            f"this {self.kind} engine takes prompts of {several} tokens (points, and two for a box or one more "
            f"without), not of {prompts.tokens}"
        )

    @property
    def on_gpu(self) -> bool:
        """Whether the engine computes beside the CPU, which then has time for other work."""
        return torch.device(self.device).type != "cpu"


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """N images as an engine's encoder left them: a value, opaque to all but the engine that made it.

    Attributes:
        features: The encoder's feature maps, each with the images first; SAM has one, (N, C, S/16, S/16).
    """

    features: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.features[0])

    def __getitem__(self, index: int) -> "Embeddings":
        """One image, as embeddings of length 1; it shares memory with the others."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} images, and none with the index {index}")
        start = index % len(self)
        return Embeddings(tuple(features[start : start + 1] for features in self.features))

    def __iter__(self) -> Iterator["Embeddings"]:
        return (self[index] for index in range(len(self)))

    def to(self, device: str | torch.device) -> "Embeddings":
        """The same on another device; itself, if it is there already."""
        return Embeddings(tuple(features.to(device) for features in self.features))


@dataclass(frozen=True, slots=True)
class Prompts:
    """P prompts for one view, in the frame of the resized view (model input pixels, before padding).

    All of them have the same parts; each part may be left out, and so may all. To pad prompts of fewer points is not
    the same as to leave the points out: SAM attends to a padding point as to any other.

    Attributes:
        points: (P, n, 2) float32 or float64 (x, y), or None. SAM rounds to float32 after its own shift and scaling;
            everything mode hands over float64, as the reference does, to get the same bits.
        labels: (P, n) int32: 1 foreground, 0 background, -1 padding; None exactly when points is None.
        boxes: (P, 4) float32 xyxy, or None.
        masks: (P, 1, h, w) float32 logits of an earlier round, or None.
        multimask: True for SAM's three masks a prompt (M = 3), False for its single one (M = 1).
        count: P of prompts without any part; the parts say it otherwise.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    multimask: bool = True
    count: int = 0

    def __len__(self) -> int:
        parts = [part for part in (self.points, self.boxes, self.masks) if part is not None]
        return len(parts[0]) if parts else self.count

    @property
    def tokens(self) -> int:
        """How many tokens each prompt becomes: its points, and its box's two corners or else a padding point.

        Without points and box there is none: a mask is no token.
        """
        points = 0 if self.points is None else self.points.shape[1]
        return points + (2 if self.boxes is not None else int(self.points is not None))


@dataclass(frozen=True, slots=True)
class ScoredPrompts:
    """The first half of the mask decoder's work.

    Attributes:
        iou: (P, M) float32 predicted IoU, on the engine's device.
        state: What the same engine's `finish` needs; opaque to callers.
    """

    iou: Tensor
    state: Any


class Engine(Protocol):
    """One SAM on one device."""

    @property
    def spec(self) -> EngineSpec:
        """What this engine is."""
        ...

    def embed(self, images_N3SS: Tensor) -> Embeddings:
        """Run the image encoder.

        Args:
            images_N3SS: (N, 3, S, S) float32, normalised, zero-padded at the right and bottom.

        Returns:
            N embeddings on the engine's device, in the engine's precision.
        """
        ...

    def score(self, embedding: Embeddings, prompts: Prompts) -> ScoredPrompts:
        """Run the decoder's transformer and IoU head.

        Args:
            embedding: One image of what `embed` returned.
            prompts: P of them.

        Raises:
            NonFiniteError: A predicted IoU is NaN or infinite.
        """
        ...

    def finish(self, scored: ScoredPrompts, index_K2: Tensor) -> Tensor:
        """Up-scale the chosen masks.

        Args:
            scored: What `score` returned.
            index_K2: (K, 2) int64 pairs (prompt, mask), in any order; K may be 0.

        Returns:
            (K, h, w) float32 logits, in the order of the index.

        Raises:
            NonFiniteError: A logit is NaN or infinite.
        """
        ...

    def close(self) -> None:
        """Free the device's memory; the engine must not be used afterwards."""
        ...
