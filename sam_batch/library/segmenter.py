"""SAM for a notebook or a program of one's own: one model, on one device, in this process.

It labels an image at a time and writes nothing; folders, buckets and clusters are a job's work (`sam_batch.job`).
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from sam_batch.config import Config, EngineConfig, GeneratorConfig, InputConfig, StorageConfig
from sam_batch.data import pixels
from sam_batch.data.storage import locate, read_uri
from sam_batch.engine import factory
from sam_batch.engine.protocol import Engine
from sam_batch.errors import CheckpointError
from sam_batch.library.embedding import Embedding, Origin
from sam_batch.library.explored import UNFILTERED, Explored
from sam_batch.library.prompt_arrays import to_prompts
from sam_batch.library.results import Masks
from sam_batch.masks.geometry import view_shape
from sam_batch.masks.rle import as_coco
from sam_batch.model import families
from sam_batch.model.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from sam_batch.model.load import Copied, copy_model
from sam_batch.records import ImageRef, LoadedImage, UInt8Array, View
from sam_batch.segment.candidates import annotate
from sam_batch.segment.embeddings import Embedder
from sam_batch.segment.everything import Everything, Progress, segment
from sam_batch.segment.prompted import Choice, Prompted
from sam_batch.segment.views import crop_views, cut_views, whole_view

Picture: TypeAlias = str | Path | Image.Image | UInt8Array
"""A path or URI, a PIL image, or (H, W, 3) uint8 RGB."""

PIPELINE_NAMES = {
    "points_per_crop": "points_per_side",
    "crops_n_layers": "crop_n_layers",
    "crops_nms_thresh": "box_nms_thresh",
}
"""What Hugging Face's pipeline calls another name than segment-anything does."""


class Segmenter:
    """One model, ready. Its methods keep nothing between calls, so threads may share it.

    Args:
        model: demo, vit_b, vit_l, vit_h, a checkpoint's path (.pth, .safetensors) or its URL; or a module of such a
            model, segment-anything's `Sam` or Hugging Face's `SamModel`, of which the weights are copied.
        device: auto, cpu or cuda.
        precision: auto, fp32, bf16 or fp16.
        batch: Prompts decoded at once; changes memory and speed, not masks but for rounding.

    Raises:
        CheckpointError: The weights are missing, damaged or of no model known here.
        ConfigError: There is no such device here.
    """

    def __init__(
        self,
        model: str | Path | nn.Module = "vit_h",
        *,
        device: str = "auto",
        precision: str = "auto",
        batch: int = 64,
    ) -> None:
        settings = EngineConfig.model_validate({"kind": "torch", "device": device, "precision": precision})
        choice = factory.resolve(settings, has_gpus=torch.cuda.is_available())
        weights: ResolvedCheckpoint | Copied
        if isinstance(model, nn.Module):
            weights = copy_model(model)
            engine = factory.build_torch(choice, weights.module, weights.name)
        else:
            named = str(model) in families.names()
            weights = resolve_checkpoint(str(model)) if named else resolve_checkpoint("auto", str(model))
            engine = factory.build(choice, weights)
        self._take(engine, weights, batch)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """The segmenter of a job's model and engine, as the sections of its configuration name them.

        Raises:
            ConfigError: They cannot be used here.
        """
        segmenter, weights = cls.__new__(cls), factory.resolve_weights(config)
        choice = factory.resolve(config.engine, has_gpus=torch.cuda.is_available())
        segmenter._take(factory.build(choice, weights), weights, config.generator.points_per_batch)
        return segmenter

    def _take(self, engine: Engine, weights: ResolvedCheckpoint | Copied, batch: int) -> None:
        self._engine, self._batch, spec = engine, batch, engine.spec
        self.origin = Origin(weights.name, weights.sha256, spec.precision, spec.image_side)

    def everything(self, image: Picture, **generator: Any) -> Masks:
        """Find all masks of an image, from a grid of points.

        Args:
            image: The image.
            generator: `GeneratorConfig`'s names and defaults, which are those of segment-anything's
                `SamAutomaticMaskGenerator`.

        Raises:
            ValueError: A setting is unknown or out of its range.
        """
        settings = GeneratorConfig.model_validate({"points_per_batch": self._batch, **generator})
        loaded, rgb_HW3 = self._loaded(image, settings)
        annotations = segment(self._engine, loaded.views, loaded.height, loaded.width, settings)
        return Masks(tuple(annotations), loaded.height, loaded.width, pixels=rgb_HW3)

    def explore(
        self,
        image: Picture,
        *,
        embedding: Embedding | None = None,
        progress: Progress = lambda share: None,
        **generator: Any,
    ) -> Explored:
        """Find all masks of an image whatever their scores, so that thresholds can be tried without the network.

        It finishes every mask, also those that no threshold would keep, which takes longer than `everything`.

        Args:
            image: The image.
            embedding: Of the same image, which is then not embedded again but for its crops.
            progress: Is told which share of the points has been asked, 0 to 1; what it raises ends the search.
            generator: As for `everything`; what filters can be given anew to `Explored.masks`.

        Raises:
            ValueError: A setting is unknown or out of its range.
            CheckpointError: The embedding was made by other weights, at another side or in another precision.
        """
        settings = GeneratorConfig.model_validate({"points_per_batch": self._batch, **generator})
        loaded, rgb_HW3 = self._loaded(image, settings)
        known = [] if embedding is None else [self._own(embedding).embeddings]
        (made,) = Embedder(self._engine).embed([loaded.views[len(known) :]])
        everything = Everything(self._engine, settings.model_copy(update=UNFILTERED))
        return Explored(rgb_HW3, settings, everything.find(loaded, chain(known, made), progress))

    def _loaded(self, image: Picture, settings: GeneratorConfig) -> tuple[LoadedImage, UInt8Array]:
        """The image with its views, and its pixels."""
        rgb_HW3 = read_picture(image)
        height, width = rgb_HW3.shape[:2]
        views = cut_views(rgb_HW3, crop_views((height, width), settings), self.origin.image_side)
        return LoadedImage(ImageRef(0, "", ""), height, width, "", b"", tuple(views)), rgb_HW3

    def embed(self, image: Picture) -> Embedding:
        """Run the image encoder; what it returns is used with `predict`, and can be kept, pickled or saved."""
        rgb_HW3 = read_picture(image)
        height, width = rgb_HW3.shape[:2]
        views = cut_views(rgb_HW3, whole_view((height, width)), self.origin.image_side)
        (embeddings,) = Embedder(self._engine).embed([views])
        return Embedding(next(embeddings).to("cpu"), height, width, self.origin)

    def predict(
        self,
        image: Picture | Embedding,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        choose: Choice = "auto",
        refine: int = 0,
    ) -> Masks:
        """Find the masks of prompted objects: one an object, in their order, three with choose="all".

        Args:
            image: The image, or its embedding.
            points: (x, y) or (n, 2) in the image's pixels: one object; (P, n, 2) or a sequence of P (n_i, 2): P.
            labels: Of the points: 1 foreground, which is the default, 0 background, -1 no point.
            boxes: (4,) or (P, 4) xyxy in the image's pixels.
            masks: (h, w) or (P, h, w): float low-resolution logits of an earlier answer, or bool of the image's size;
                or earlier `Masks`.
            choose: single, best, auto or all, as `segment.prompted.Prompted` describes them.
            refine: How many times the best mask is given back as a prompt.

        Raises:
            ValueError: A prompt cannot be asked; says which and why.
            CheckpointError: The embedding was made by other weights, at another side or in another precision.
        """
        prompts = to_prompts(points, labels, boxes, masks)
        if isinstance(image, Embedding):
            rgb_HW3, embedding = None, self._own(image)
        else:
            rgb_HW3 = read_picture(image)
            embedding = self.embed(rgb_HW3)
        height, width = embedding.height, embedding.width
        loaded = LoadedImage(
            ImageRef(0, "", ""), height, width, "", b"", (self._view(height, width),), prompts=tuple(prompts)
        )
        algorithm = Prompted(self._engine, choose=choose, refine=refine, batch=self._batch, keep_logits=True)
        answers = algorithm.find(loaded, iter([embedding.embeddings]))
        for number, answer in enumerate(answers):
            if answer.failure is not None:
                raise ValueError(f"prompt {number}: {answer.failure.message}")
        candidates = [candidate for answer in answers for candidate in answer.candidates]
        annotations = annotate(candidates, (height, width), keep_empty=True)
        logits = torch.cat([answer.logits_Mhw for answer in answers if answer.logits_Mhw is not None]).cpu().numpy()
        return Masks(tuple(annotations), height, width, logits, rgb_HW3)

    def __call__(self, images: Picture | Sequence[Picture], **settings: Any) -> dict[str, Any] | list[dict[str, Any]]:
        """Find all masks as Hugging Face's mask-generation pipeline returns them.

        Args:
            images: One, or several.
            settings: The pipeline's names, or `GeneratorConfig`'s; `output_rle_mask` and `output_bboxes_mask` add
                `rle_mask` and `bounding_boxes` (xyxy).

        Returns:
            For each image `masks`, a list of (H, W) bool arrays, and `scores`, a (K,) float32 tensor.

        Raises:
            ValueError: A setting is unknown or out of its range.
        """
        if isinstance(images, (list, tuple)):
            return [self._labelled(image, **settings) for image in images]
        return self._labelled(images, **settings)  # type: ignore[arg-type]  # one picture

    def _labelled(
        self, image: Picture, *, output_rle_mask: bool = False, output_bboxes_mask: bool = False, **settings: Any
    ) -> dict[str, Any]:
        found = self.everything(image, **{PIPELINE_NAMES.get(name, name): value for name, value in settings.items()})
        labelled: dict[str, Any] = {"masks": list(found.arrays), "scores": torch.from_numpy(found.scores)}
        if output_rle_mask:
            labelled["rle_mask"] = [as_coco(counts, found.height, found.width) for counts in found.counts]
        if output_bboxes_mask:
            labelled["bounding_boxes"] = torch.from_numpy(found.boxes)
        return labelled

    def _own(self, embedding: Embedding) -> Embedding:
        """The embedding, if this model made it."""
        if embedding.origin != self.origin:
            raise CheckpointError(f"the embedding is of {embedding.origin}, this is {self.origin}")
        return embedding

    def _view(self, height: int, width: int) -> View:
        """The whole image as its embedding saw it: the pixels are no longer needed, only their number."""
        view_hw = view_shape(height, width, self.origin.image_side)
        return View((0, 0, width, height), np.broadcast_to(np.uint8(0), (*view_hw, 3)))

    def close(self) -> None:
        """Free the device's memory; the segmenter must not be used afterwards."""
        self._engine.close()


def read_picture(image: Picture) -> UInt8Array:
    """Any picture as (H, W, 3) uint8 RGB.

    Raises:
        ImageError: The file is no image that can be read.
        StorageError: It cannot be reached.
        ValueError: The array is none of an image.
    """
    if isinstance(image, (str, Path)):
        uri = locate(str(image), StorageConfig()).uri
        return pixels.decode(read_uri(uri, StorageConfig()), InputConfig(uri=str(image))).rgb_HW3
    if isinstance(image, Image.Image):
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"an image should be (H, W, 3) uint8 RGB; it is {image.shape} {image.dtype}")
    return image
