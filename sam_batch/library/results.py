"""Masks as a notebook wants them: arrays, scores, boxes, and a picture of themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam_batch.masks import rle
from sam_batch.masks.patch import BoolArray
from sam_batch.output.render import PLAIN, Style, color_mask
from sam_batch.records import Annotation, Prompt, UInt8Array

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One mask of an image; without a pixel, if a prompt found none.

    Attributes:
        annotation: As a job writes it.
        height: Of the image, in pixels.
        width: Likewise.
        logits: (h, w) float32, low resolution, of a prompt's mask; None in everything mode.
    """

    annotation: Annotation
    height: int
    width: int
    logits: FloatArray | None = field(default=None, repr=False)

    @property
    def array(self) -> BoolArray:
        """(H, W) bool, made when asked for."""
        return np.ascontiguousarray(rle.decode(self.annotation.counts, self.height, self.width))

    @property
    def score(self) -> float:
        """The model's own estimate of the mask's IoU."""
        return self.annotation.predicted_iou

    @property
    def stability(self) -> float:
        """IoU between the masks at a threshold a little higher and a little lower."""
        return self.annotation.stability_score

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Corners, xyxy in pixels, x1 and y1 one past the last pixel; zeros without a pixel."""
        x, y, width, height = self.annotation.bbox
        return x, y, x + width, y + height

    @property
    def area(self) -> int:
        """Pixels."""
        return self.annotation.area

    @property
    def counts(self) -> str:
        """COCO's compressed run lengths."""
        return self.annotation.counts

    @property
    def prompt(self) -> Prompt:
        """What it was found with."""
        return self.annotation.prompt


@dataclass(frozen=True, slots=True, eq=False)
class Masks(Sequence[Mask]):
    """The K masks of one image, in order; a notebook shows them in colour over it.

    Attributes:
        annotations: As a job writes them.
        height: Of the image, in pixels.
        width: Likewise.
        logits: (K, h, w) float32, low resolution, of prompts' masks; None in everything mode.
        pixels: (H, W, 3) uint8 RGB of the image; None if they were found from an embedding.
    """

    annotations: tuple[Annotation, ...]
    height: int
    width: int
    logits: FloatArray | None = field(default=None, repr=False)
    pixels: UInt8Array | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.annotations)

    @overload
    def __getitem__(self, index: int) -> Mask: ...
    @overload
    def __getitem__(self, index: slice) -> "Masks": ...
    def __getitem__(self, index: int | slice) -> "Mask | Masks":
        logits = None if self.logits is None else self.logits[index]
        if isinstance(index, slice):
            return Masks(self.annotations[index], self.height, self.width, logits, self.pixels)
        return Mask(self.annotations[index], self.height, self.width, logits)

    @property
    def arrays(self) -> BoolArray:
        """(K, H, W) bool, made when asked for."""
        masks = [mask.array for mask in self]
        return np.stack(masks) if masks else np.zeros((0, self.height, self.width), dtype=bool)

    @property
    def scores(self) -> FloatArray:
        """(K,) predicted IoUs."""
        return np.array([mask.score for mask in self], np.float32)

    @property
    def stability(self) -> FloatArray:
        """(K,) stabilities, 0 to 1."""
        return np.array([mask.stability for mask in self], np.float32)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(K, 4) xyxy in pixels, x1 and y1 one past the last pixel: what `predict` takes as boxes."""
        return np.array([mask.box for mask in self], np.float64).reshape(-1, 4)

    @property
    def areas(self) -> NDArray[np.int64]:
        """(K,) pixels."""
        return np.array([mask.area for mask in self], np.int64)

    @property
    def counts(self) -> list[str]:
        """COCO's compressed run lengths."""
        return [mask.counts for mask in self]

    def records(self, segmentation: Literal["binary_mask", "coco_rle"] = "binary_mask") -> list[dict[str, Any]]:
        """The dictionaries of segment-anything's `SamAutomaticMaskGenerator`; bbox is COCO's, a pixel more than its."""
        return [_record(mask, segmentation) for mask in self]

    def draw(
        self,
        image: UInt8Array | None = None,
        *,
        opacity: float = PLAIN.opacity,
        outlines: bool = False,
        numbers: bool = False,
    ) -> Image.Image:
        """Each mask in a colour of its own, small ones on top; as a job draws them.

        Args:
            image: (H, W, 3) uint8 RGB to draw over; None takes the image itself, or black if only its embedding was
                known.
            opacity: Of the colours over the image, 0 to 1.
            outlines: Draw the edge of each mask in its full colour.
            numbers: Write each mask's `mask_id` on it.
        """
        style = Style(opacity, outlines, numbers)
        return Image.open(BytesIO(self._png(self.pixels if image is None else image, style)))

    def _repr_png_(self) -> bytes:
        return self._png(self.pixels)

    def _png(self, pixels: UInt8Array | None, style: Style = PLAIN) -> bytes:
        if pixels is not None and pixels.shape != (self.height, self.width, 3):
            raise ValueError(f"the image should be ({self.height}, {self.width}, 3); it is {pixels.shape}")
        return color_mask(pixels, self.annotations, self.height, self.width, style)


def _record(mask: Mask, segmentation: str) -> dict[str, Any]:
    return {
        "segmentation": mask.array
        if segmentation == "binary_mask"
        else rle.as_coco(mask.counts, mask.height, mask.width),
        "area": mask.area,
        "bbox": list(mask.annotation.bbox),
        "predicted_iou": mask.score,
        "point_coords": [list(point) for point in mask.prompt.points],
        "stability_score": mask.stability,
        "crop_box": list(mask.annotation.crop_box),
    }
