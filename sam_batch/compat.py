"""segment-anything's own classes on this package's engine: change an import, keep the code.

    from sam_batch.compat import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

Both classes inherit from segment-anything's and take the same arguments. The `Sam` stays its user's: the engine shares
its weights, notices when it was moved or trained, and is then made anew. What the engine cannot do is done by
segment-anything's code, with a warning: models that were rebuilt, and subclasses with steps of their own. Nothing here
is asynchronous or batched across images, and `Sam` itself, called by hand, is as fast as ever; `sam_batch.Segmenter` is
the face of this package for new code.
"""

import copy
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import segment_anything
import torch
from segment_anything import build_sam as build_sam
from segment_anything import build_sam_vit_b as build_sam_vit_b
from segment_anything import build_sam_vit_h as build_sam_vit_h
from segment_anything import build_sam_vit_l as build_sam_vit_l
from segment_anything import sam_model_registry as sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from sam_batch.config import GeneratorConfig
from sam_batch.engine.protocol import Embeddings, Prompts
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.errors import NonFiniteError
from sam_batch.masks import rle
from sam_batch.masks.kernels.choose import stable_masks
from sam_batch.masks.logits import Scale
from sam_batch.masks.polygons import run_lengths_of
from sam_batch.model.precision import DTYPES
from sam_batch.model.sam.family import SAM
from sam_batch.model.sam.plain import identity_of, samples_of, why_not_plain
from sam_batch.records import Annotation, UInt8Array
from sam_batch.segment.everything import segment
from sam_batch.segment.memory import BatchSize
from sam_batch.segment.views import crop_views, cut_views

PROMPTS_AT_ONCE = 64
STEPS = ("_generate_masks", "_process_crop", "_process_batch", "postprocess_small_regions")
"""Of segment-anything's generator, which a subclass may have replaced."""


class SamPredictor(segment_anything.SamPredictor):
    """segment-anything's `SamPredictor`, several times as fast.

    In float32 the masks are its own, but for pixels whose logits are within rounding of the threshold.

    Args:
        sam_model: float32, on a CPU or CUDA.
        precision: fp32 shares the weights; bf16 and fp16 hold a copy of them, and change masks a little.
    """

    def __init__(self, sam_model: Sam, precision: str = "fp32") -> None:
        super().__init__(sam_model)
        self.engines = Engines(precision)

    @torch.no_grad()
    def set_torch_image(self, transformed_image: Tensor, original_image_size: tuple[int, ...]) -> None:
        """Embed an image that `transform` has resized.

        Args:
            transformed_image: (1, 3, h, w), RGB from 0 to 255; its longer side is the model's.
            original_image_size: Height and width before.

        Raises:
            ValueError: It has another shape.
        """
        engine = self.engines.engine_of(self.model, look_closely=True)
        if engine is None:
            super().set_torch_image(transformed_image, original_image_size)
            return
        side, shape = engine.spec.image_side, transformed_image.shape
        if len(shape) != 4 or shape[1] != 3 or max(shape[2:]) != side:
            raise ValueError(f"the image should be (1, 3, h, w) with a longer side of {side}; it is {tuple(shape)}")
        self.reset_image()
        self.original_size, self.input_size = original_image_size, tuple(shape[2:])
        with on_its_own(engine):
            (features,) = engine.embed(self.model.preprocess(transformed_image)).features
        # In float32 for whoever calls the model's modules by hand; and a copy, which is no inference tensor.
        self.features = features.float().clone()
        self.is_image_set = True

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Find the masks of P prompts, which are in the frame that `transform` brings them to.

        Args:
            point_coords: (P, n, 2) or None.
            point_labels: (P, n) or None.
            boxes: (P, 4) or (P, 1, 4) xyxy, or None.
            mask_input: (P, 1, h, w) low-resolution logits, or (1, 1, h, w) for all prompts, or None.
            multimask_output: Three masks a prompt, or one.
            return_logits: Logits in place of masks.

        Returns:
            (P, M, H, W) bool masks or float32 logits, (P, M) predicted IoUs, (P, M, h, w) low-resolution logits.

        Raises:
            RuntimeError: No image is set.
            ValueError: The prompts are of different numbers.
        """
        engine = self.engines.engine_of(self.model) if self.is_image_set else None
        if engine is not None and len(self.features) == 1:
            prompts = to_prompts(point_coords, point_labels, boxes, mask_input, multimask_output)
            try:
                iou_PM, low_PMhw = decode(engine, self.features, prompts)
                return self._upscale(low_PMhw, return_logits), iou_PM, low_PMhw
            except NonFiniteError:
                pass  # segment-anything returns NaN, of the prompts that are at fault alone
        return super().predict_torch(point_coords, point_labels, boxes, mask_input, multimask_output, return_logits)

    def _upscale(self, low_PMhw: Tensor, return_logits: bool) -> Tensor:
        """(P, M, H, W) logits or masks; on a CPU masks are made without their logits."""
        (input_h, input_w), (height, width) = map(int, self.input_size), map(int, self.original_size)
        threshold = self.model.mask_threshold
        if return_logits or low_PMhw.device.type != "cpu":
            logits_PMHW: Tensor = self.model.postprocess_masks(low_PMhw, (input_h, input_w), (height, width))
            return logits_PMHW if return_logits else logits_PMHW > threshold
        low_Khw = low_PMhw.flatten(0, 1)
        scale = Scale(self.model.image_encoder.img_size, (input_h, input_w), (height, width))
        masks_KHW = np.zeros((len(low_Khw), height, width), dtype=bool)
        for mask in stable_masks(low_Khw, scale, threshold=threshold, offset=1.0, min_stability=0.0):
            masks_KHW[mask.index] = mask.patch.unpack(height, width)
        return torch.unflatten(torch.from_numpy(masks_KHW), 0, low_PMhw.shape[:2])


class SamAutomaticMaskGenerator(segment_anything.SamAutomaticMaskGenerator):
    """segment-anything's `SamAutomaticMaskGenerator`, several times as fast.

    In float32 the records are its own, but for what rounding decides; masks without a pixel are left out. Attributes
    may be changed between two calls, as ever.

    Args:
        model: As of `SamPredictor`.
        settings: segment-anything's, in its order.
        precision: As of `SamPredictor`.
    """

    def __init__(self, model: Sam, *settings: Any, precision: str = "fp32", **more: Any) -> None:
        super().__init__(model, *settings, **more)
        self.predictor = SamPredictor(model, precision)

    @torch.no_grad()
    def generate(self, image: UInt8Array) -> list[dict[str, Any]]:
        """Find all masks of an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            segment-anything's records, in its order; boxes (xywh) are one pixel short, as its are.

        Raises:
            ValueError: The image has another shape or type.
        """
        settings, predictor = self._settings(), self.predictor
        engine = None if settings is None else predictor.engines.engine_of(predictor.model, look_closely=True)
        if settings is None or engine is None:
            return super().generate(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"an image should be (H, W, 3) uint8 RGB; it is {image.shape} {image.dtype}")
        if predictor.model.image_format != "RGB":
            image = image[..., ::-1]
        height, width = image.shape[:2]
        views = cut_views(image, crop_views((height, width), settings), engine.spec.image_side)
        with on_its_own(engine):
            annotations = segment(engine, views, height, width, settings)
        return [to_record(annotation, height, width, self.output_mode) for annotation in annotations]

    def _settings(self) -> GeneratorConfig | None:
        """What the attributes say now; None where segment-anything's own code must work, which is said."""
        own = [name for name in STEPS if getattr(type(self), name) is not getattr(_Published, name)]
        own += ["predictor"] if type(self.predictor) is not SamPredictor else []
        if own:
            warn_of(f"{type(self).__name__} has its own {', '.join(own)}")
            return None
        names = GeneratorConfig.model_fields.keys() & vars(self).keys() - {"point_grids"}
        grids = tuple(tuple(map(tuple, np.asarray(grid).tolist())) for grid in self.point_grids)
        try:
            return GeneratorConfig.model_validate(
                {name: getattr(self, name) for name in names} | {"point_grids": grids}
            )
        except ValueError as error:
            warn_of(str(error))
            return None


_Published = segment_anything.SamAutomaticMaskGenerator


class Engines:
    """The engine of a `Sam` that stays its user's: made when it is first needed, and anew when the `Sam` has changed.

    Args:
        precision: fp32, bf16 or fp16.
    """

    def __init__(self, precision: str) -> None:
        if precision not in DTYPES:
            raise ValueError(f"precision is {precision!r}; it should be one of {', '.join(DTYPES)}")
        self._precision = precision
        self._engine: TorchEngine | None = None
        self._identity: object = None
        self._samples: object = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Engines, (self._precision,)  # what is copied or pickled with a predictor makes its own

    def engine_of(self, sam: Sam, *, look_closely: bool = False) -> TorchEngine | None:
        """The engine; None where segment-anything's own modules must work, which is said once for each change.

        Args:
            sam: The model as it is now.
            look_closely: Notice also weights that were written through `.data`.
        """
        identity = identity_of(sam)
        written_to = look_closely and self._engine is not None and samples_of(sam) != self._samples
        if identity != self._identity or written_to:
            self._engine = None  # first, so that there are never two
            self._engine, self._identity = self._made_of(sam), identity
            self._samples = None if self._engine is None else samples_of(sam)
        return self._engine

    def _made_of(self, sam: Sam) -> TorchEngine | None:
        fault = why_not_plain(sam)
        if fault:
            warn_of(fault)
            return None
        taken = sam if self._precision == "fp32" else copy.deepcopy(sam)
        return TorchEngine(taken, SAM, model="own", precision=self._precision, device=str(sam.device))


def warn_of(fault: str) -> None:
    """Say that the slow way is taken."""
    warnings.warn(f"segment-anything's own code is used, which is slower: {fault}", stacklevel=2)


def on_its_own(engine: TorchEngine) -> torch.autocast:
    """Out of the caller's autocast: an engine has a precision of its own."""
    return torch.autocast(torch.device(engine.spec.device).type, enabled=False)


def to_prompts(
    points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None, multimask: bool
) -> Prompts:
    """The arguments of `SamPredictor.predict_torch` as an engine takes them.

    Raises:
        ValueError: They are of different numbers of prompts.
    """
    if boxes is not None and boxes.shape[1:] == (1, 4):
        boxes = boxes[:, 0]
    given = {"points": points, "boxes": boxes, "masks": masks}
    numbers = {name: len(part) for name, part in given.items() if part is not None}
    count = next(iter(numbers.values()), 1)
    if masks is not None and len(masks) == 1:
        masks, numbers["masks"] = masks.expand(count, -1, -1, -1), count
    if len(set(numbers.values())) > 1:
        raise ValueError(f"points, boxes and masks should be of as many prompts each; they are of {numbers}")
    if boxes is not None and boxes.shape != (count, 4):
        raise ValueError(f"boxes should be (P, 4) or (P, 1, 4); they are {tuple(boxes.shape)}")
    return Prompts(points, labels if points is not None else None, boxes, masks, multimask, count)


def decode(engine: TorchEngine, features: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """All masks of prompts, a bounded number of prompts at a time.

    Args:
        engine: Any.
        features: (1, C, gh, gw) of the image, on any device and in any precision.
        prompts: P of them.

    Returns:
        (P, M) predicted IoUs and (P, M, h, w) low-resolution logits.

    Raises:
        NonFiniteError: One of them is NaN or infinite.
    """
    embedding = Embeddings((features.to(DTYPES[engine.spec.precision]),))

    def decode_some(some: slice) -> tuple[Tensor, Tensor]:
        with on_its_own(engine):
            scored = engine.score(embedding, part_of(prompts, some))
            logits_Khw = engine.finish(scored, torch.ones(scored.iou.shape).nonzero())
        return scored.iou, torch.unflatten(logits_Khw, 0, scored.iou.shape)

    if len(prompts) == 0:
        masks, side = 3 if prompts.multimask else 1, engine.spec.mask_side
        return features.new_empty((0, masks)), features.new_empty((0, masks, side, side))
    batches = BatchSize("prompts decoded at once", PROMPTS_AT_ONCE, engine.spec).over(len(prompts), decode_some)
    ious, logits = zip(*batches, strict=True)
    return torch.cat(ious), torch.cat(logits)  # copies, which are no inference tensors


def part_of(prompts: Prompts, some: slice) -> Prompts:
    """Some of the prompts."""
    parts = {name: getattr(prompts, name) for name in ("points", "labels", "boxes", "masks")}
    return replace(prompts, **{name: part[some] for name, part in parts.items() if part is not None})


def to_record(annotation: Annotation, height: int, width: int, output_mode: str) -> dict[str, Any]:
    """A mask as segment-anything's generator returns it; its boxes are one pixel short."""
    x, y, box_w, box_h = map(int, annotation.bbox)
    return {
        "segmentation": _segmentation(annotation.counts, height, width, output_mode),
        "area": annotation.area,
        "bbox": [x, y, box_w - 1, box_h - 1],
        "predicted_iou": annotation.predicted_iou,
        "point_coords": [list(point) for point in annotation.prompt.points],
        "stability_score": annotation.stability_score,
        "crop_box": list(map(int, annotation.crop_box)),
    }


def _segmentation(counts: str, height: int, width: int, output_mode: str) -> Any:
    if output_mode == "binary_mask":
        return rle.decode(counts, height, width)
    if output_mode == "coco_rle":
        return rle.as_coco(counts, height, width)
    return {"size": [height, width], "counts": run_lengths_of(counts).tolist()}
