"""segment-anything's SamAutomaticMaskGenerator, to hold this package's records against."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, automatic_mask_generator
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import nn

from sam_batch.config import GeneratorConfig
from sam_batch.engine.protocol import Embeddings, Engine, Prompts, ScoredPrompts
from sam_batch.masks.logits import Scale
from sam_batch.records import Annotation, Prompt, UInt8Array
from support.rounding import upsample

OWN = {
    "mode", "max_mask_region_area", "min_mask_area", "max_mask_area",
    "mask_nms_thresh", "containment_thresh", "max_masks_per_image",
}  # fmt: skip


def reference_annotations(sam: Sam, image: UInt8Array, generator: GeneratorConfig) -> list[Annotation]:
    """What the reference finds, without masks that have no pixel, and each line of pixels once."""
    settings = generator.model_dump(exclude=OWN)
    if generator.point_grids is not None:
        settings["point_grids"] = [np.array(grid) for grid in generator.point_grids]
    with mended():
        records = SamAutomaticMaskGenerator(sam, **settings, output_mode="coco_rle").generate(image)
    kept = [one for one in without_equal_lines(records) if one["area"] > 0]
    return [_annotation(mask_id, one) for mask_id, one in enumerate(kept)]


def without_equal_lines(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of equal masks whose boxes have no area the reference suppresses none; this package keeps the first."""
    lines = [record["segmentation"]["counts"] if 0 in record["bbox"][2:] else None for record in records]
    return [record for i, record in enumerate(records) if lines[i] is None or lines[i] not in lines[:i]]


def _annotation(mask_id: int, record: dict[str, Any]) -> Annotation:
    """A record as this package writes it."""
    x, y, width, height = map(float, record["bbox"])
    return Annotation(
        mask_id=mask_id,
        bbox=(x, y, width + 1, height + 1),  # the reference's is one pixel short
        area=int(record["area"]),
        predicted_iou=record["predicted_iou"],
        stability_score=float(np.nan_to_num(record["stability_score"])),
        prompt=Prompt(points=tuple(map(tuple, record["point_coords"])), labels=(1,)),
        crop_box=tuple(map(float, record["crop_box"])),
        counts=record["segmentation"]["counts"],
    )


@contextmanager
def mended() -> Iterator[None]:
    """The reference without its failures on tiny or thin images, and where crops hold no mask at all.

    It cuts crops without a pixel, resizes to a side of 0, and takes the areas of a list of boxes that has no columns.
    """
    crops, area, shape = (
        automatic_mask_generator.generate_crop_boxes,
        automatic_mask_generator.box_area,
        ResizeLongestSide.get_preprocess_shape,
    )

    def crops_with_pixels(*args: Any) -> tuple[list[list[int]], list[int]]:
        pairs = [(box, layer) for box, layer in zip(*crops(*args), strict=True) if box[0] < box[2] and box[1] < box[3]]
        return [box for box, _ in pairs], [layer for _, layer in pairs]

    def at_least_one(*args: int) -> tuple[int, int]:
        height, width = shape(*args)
        return max(1, height), max(1, width)

    with (
        mock.patch.object(automatic_mask_generator, "generate_crop_boxes", crops_with_pixels),
        mock.patch.object(automatic_mask_generator, "box_area", lambda boxes: area(boxes.reshape(-1, 4))),
        mock.patch.object(ResizeLongestSide, "get_preprocess_shape", staticmethod(at_least_one)),
    ):
        yield


class Whole:
    """An engine that up-scales every mask, whichever are asked for.

    How many are up-scaled at once changes the last bits of float32 logits; the reference asks for all.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self.spec, self.embed, self.score = engine, engine.spec, engine.embed, engine.score

    def finish(self, scored: ScoredPrompts, index_K2: torch.Tensor) -> torch.Tensor:
        """Logits of the chosen masks."""
        logits_Khw = self._engine.finish(scored, torch.ones_like(scored.iou).nonzero())
        return logits_Khw.unflatten(0, scored.iou.shape)[index_K2[:, 0], index_K2[:, 1]]

    def close(self) -> None:
        """As the engine itself."""
        self._engine.close()


def as_sam(engine: Engine, kind: type[Sam] | None = None) -> Sam:
    """An engine behind the interface of a `Sam`, for the reference to run on; by default it rounds as this package."""
    sam = (kind or RoundingAlike)(_ImageEncoder(engine), _PromptEncoder(), _MaskDecoder(engine))
    assert sam.pixel_mean.flatten().tolist() == list(torch.tensor(engine.spec.pixel_mean))
    return sam


class RoundingAlike(Sam):
    """A `Sam` that up-samples masks plainly, in this package's rounding: torch's depends on its release and threads."""

    def postprocess_masks(self, masks: torch.Tensor, input_size: Any, original_size: Any) -> torch.Tensor:
        scale = Scale(self.image_encoder.img_size, tuple(input_size), tuple(original_size))
        full_KHW = [upsample(low_hw.numpy(), scale) for low_hw in masks.flatten(0, 1)]
        return torch.from_numpy(np.stack(full_KHW)).unflatten(0, masks.shape[:2])


class _ImageEncoder(nn.Module):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine, self.img_size = engine, engine.spec.image_side

    def forward(self, images_N3SS: torch.Tensor) -> torch.Tensor:
        return self.engine.embed(images_N3SS).features[0]


class _PromptEncoder(nn.Module):
    def forward(self, points: Any, boxes: Any, masks: Any) -> tuple[Prompts, None]:
        points, labels = points or (None, None)
        return Prompts(points, labels, boxes, masks, count=1), None

    def get_dense_pe(self) -> None:
        return None


class _MaskDecoder(nn.Module):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(
        self, *, image_embeddings: torch.Tensor, sparse_prompt_embeddings: Prompts, multimask_output: bool, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        prompts = replace(sparse_prompt_embeddings, multimask=multimask_output)
        scored = self.engine.score(Embeddings((image_embeddings,)), prompts)
        logits_Khw = self.engine.finish(scored, torch.ones_like(scored.iou).nonzero())
        return logits_Khw.unflatten(0, scored.iou.shape), scored.iou
