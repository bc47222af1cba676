"""segment-anything's SamAutomaticMaskGenerator, to hold this package's records against."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, automatic_mask_generator
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import nn

from sam_batch.config import GeneratorConfig
from sam_batch.engine.protocol import Engine, Prompts
from sam_batch.masks import rle
from sam_batch.records import Annotation, UInt8Array

OWN = {"mode", "max_mask_region_area", "mask_nms_thresh", "containment_thresh", "max_masks_per_image"}


def reference_records(sam: Sam, image: UInt8Array, generator: GeneratorConfig) -> list[dict[str, Any]]:
    """What the reference finds, without masks that have no pixel."""
    settings = generator.model_dump(exclude=OWN)
    if generator.point_grids is not None:
        settings["point_grids"] = [np.array(grid) for grid in generator.point_grids]
    with mended():
        records = SamAutomaticMaskGenerator(sam, **settings, output_mode="coco_rle").generate(image)
    return [one for one in records if one["area"] > 0]


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


def assert_same(
    ours: list[Annotation], theirs: list[dict[str, Any]], image: UInt8Array, rounding: Sam | None = None
) -> None:
    """The same masks in the same order, with the same numbers.

    Args:
        ours: What this package found.
        theirs: What the reference found.
        image: Where.
        rounding: The model, if the two compute it in another order, so that it rounds differently: a pixel whose logit
            is at a threshold but for that may then fall on either side. The tolerances are what separates
            segment-anything's own float32 from its float64 with the lively `small_sam`: up to 0.04 of a logit and
            0.003 of a predicted IoU, for 3e-6 of an embedding.
    """
    iou, stability = (1e-4, 1e-4) if rounding is None else (3e-3, 1e-3)
    assert [one.mask_id for one in ours] == list(range(len(theirs)))
    for own, other in zip(ours, theirs, strict=True):
        assert own.point_coords == tuple(map(tuple, other["point_coords"]))
        assert list(own.crop_box) == other["crop_box"]
        assert abs(own.predicted_iou - other["predicted_iou"]) < iou
        assert abs(own.stability_score - np.nan_to_num(other["stability_score"])) < stability
        if own.counts == other["segmentation"]["counts"]:
            assert own.area == other["area"]
            x, y, width, height = own.bbox
            assert [x, y, width - 1, height - 1] == other["bbox"]  # the reference's is one pixel short
        else:
            assert rounding is not None, "the masks differ"
            assert np.abs(logits_where_different(rounding, image, own, other)).max() < 0.04


def logits_where_different(sam: Sam, image: UInt8Array, own: Annotation, other: dict[str, Any]) -> np.ndarray:
    """The reference's logits at the pixels that only one of two masks has."""
    height, width = image.shape[:2]
    x, y, crop_w, crop_h = map(int, own.crop_box)
    predictor = SamPredictor(sam)
    with mended():
        predictor.set_image(image[y : y + crop_h, x : x + crop_w])
        logits, iou, _ = predictor.predict(np.array(own.point_coords) - (x, y), np.array([1]), return_logits=True)
    full = np.full((height, width), np.inf)
    full[y : y + crop_h, x : x + crop_w] = logits[np.abs(iou - own.predicted_iou).argmin()]
    differ = rle.decode(own.counts, height, width) != rle.decode(other["segmentation"]["counts"], height, width)
    return full[differ]


def as_sam(engine: Engine) -> Sam:
    """An engine behind the interface of a `Sam`, for the reference to run on."""
    sam = Sam(_ImageEncoder(engine), _PromptEncoder(), _MaskDecoder(engine))
    assert sam.pixel_mean.flatten().tolist() == list(torch.tensor(engine.spec.pixel_mean))
    return sam


class _ImageEncoder(nn.Module):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine, self.img_size = engine, engine.spec.image_side

    def forward(self, images_N3SS: torch.Tensor) -> torch.Tensor:
        return self.engine.embed(images_N3SS)


class _PromptEncoder(nn.Module):
    def forward(self, points: Any, boxes: None, masks: None) -> tuple[Prompts, None]:
        return Prompts(points=points[0], labels=points[1]), None

    def get_dense_pe(self) -> None:
        return None


class _MaskDecoder(nn.Module):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(
        self, *, image_embeddings: torch.Tensor, sparse_prompt_embeddings: Prompts, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scored = self.engine.score(image_embeddings[0], sparse_prompt_embeddings)
        logits_Khw = self.engine.finish(scored, torch.ones_like(scored.iou).nonzero())
        return logits_Khw.unflatten(0, scored.iou.shape), scored.iou
