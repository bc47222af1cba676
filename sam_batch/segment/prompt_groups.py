"""Prompts that go through the decoder together: of one shape, in the frame of a view.

Another shape is another group, of which none is padded: SAM attends to a padding point as to any other, and two prompts
padded to one length get other masks than each for itself.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_batch.engine.protocol import EngineSpec, Prompts
from sam_batch.masks.geometry import points_to_view
from sam_batch.masks.low_res import mask_logits
from sam_batch.records import Prompt, View


class Shape(NamedTuple):
    """What the prompts of a group have in common.

    Attributes:
        points: How many each has.
        boxed: Whether each has a box.
        masked: Whether each has a mask or logits.
    """

    points: int
    boxed: bool
    masked: bool

    @classmethod
    def of(cls, prompt: Prompt) -> "Shape":
        """A prompt's shape; points that are none (label -1) do not count."""
        masked = prompt.mask is not None or prompt.logits is not None
        return cls(len(_points(prompt)), prompt.box is not None, masked)


def by_shape(places: Iterable[int], prompts: Sequence[Prompt]) -> list[list[int]]:
    """Put the places of prompts in groups of one shape, each in order."""
    groups: dict[Shape, list[int]] = defaultdict(list)
    for place in places:
        groups[Shape.of(prompts[place])].append(place)
    return list(groups.values())


def to_engine(prompts: Sequence[Prompt], view: View, spec: EngineSpec) -> Prompts:
    """Bring prompts of one shape into the frame of a view of the whole image.

    Positions become float32 when they are scaled, as in `SamPredictor.predict`.
    """
    shape = Shape.of(prompts[0])

    def scaled(positions: Any) -> Tensor:
        in_view_N2 = points_to_view(np.array(positions, np.float64).reshape(-1, 2), view.crop_hw, view.view_hw)
        return torch.from_numpy(in_view_N2.astype(np.float32))

    points_Pn3 = np.array([_points(prompt) for prompt in prompts], np.float64)  # x, y, label
    return Prompts(
        points=scaled(points_Pn3[..., :2]).reshape(-1, shape.points, 2) if shape.points else None,
        labels=torch.from_numpy(points_Pn3[..., 2].astype(np.int32)) if shape.points else None,
        boxes=scaled([prompt.box for prompt in prompts]).reshape(-1, 4) if shape.boxed else None,
        masks=torch.from_numpy(np.stack([_logits(prompt, view, spec) for prompt in prompts])) if shape.masked else None,
        count=len(prompts),
    )


def _points(prompt: Prompt) -> list[tuple[float, float, int]]:
    """(x, y, label) of those that are points."""
    return [(x, y, label) for (x, y), label in zip(prompt.points, prompt.labels, strict=True) if label != -1]


def _logits(prompt: Prompt, view: View, spec: EngineSpec) -> NDArray[np.float32]:
    """(1, h, w) of a prompt's mask or logits."""
    if prompt.mask is not None:
        return mask_logits(prompt.mask, view.crop_hw, view.view_hw, spec.image_side, spec.mask_side)[None]
    return np.frombuffer(prompt.logits or b"", np.float32).reshape(1, spec.mask_side, spec.mask_side)
