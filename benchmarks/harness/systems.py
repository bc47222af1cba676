"""The systems that are compared, behind one interface: an image in, masks as COCO run lengths out.

All get copies of one model, the same grid and the same thresholds. Each says which of its functions belong to which
stage; what belongs to none is its own housekeeping.
"""

import copy
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from segment_anything import SamAutomaticMaskGenerator, automatic_mask_generator
from segment_anything.modeling import Sam

from benchmarks.harness import tensorrt
from benchmarks.harness.recorded import Capture, Recorded, cuda_graph
from benchmarks.harness.stopwatch import Site
from sam_batch.config import GeneratorConfig
from sam_batch.engine.choice import EngineChoice
from sam_batch.engine.protocol import Engine
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.errors import SamBatchError
from sam_batch.masks.rle import as_coco
from sam_batch.model.sam.family import SAM
from sam_batch.model.sam.torch_model import SamModel
from sam_batch.records import UInt8Array
from sam_batch.segment import everything, finish, views

DECODE, OTHER = "decode file", "other"
RESIZE, EMBED, SCORE, FINISH, POST, NMS, RLE = "resize", "embed", "score", "finish", "post-process", "NMS", "RLE"
STAGES = (DECODE, RESIZE, EMBED, SCORE, FINISH, POST, NMS, RLE, OTHER)

Found = list[Any]
Rles = list[dict[str, Any]]


class LeftOutError(Exception):
    """A system cannot be measured here; the others can."""


class System(Protocol):
    """Everything mode, as somebody wrote it."""

    def label(self, pixels_HW3: UInt8Array) -> Found:
        """Find all masks of one image, in the system's own form."""
        ...

    def rles(self, found: Found) -> Rles:
        """The masks that `label` found, as COCO run lengths; not part of the measurement."""
        ...

    def sites(self) -> Iterator[Site]:
        """The functions that make up its stages."""
        ...


class Reference:
    """segment-anything's `SamAutomaticMaskGenerator`, float32.

    Its decoder works in one piece: up-scaling and hypernetworks count as finish, the rest as score.
    """

    def __init__(self, sam: Sam, generator: GeneratorConfig, choice: EngineChoice) -> None:
        self._sam = copy.deepcopy(sam).to(choice.device)
        self._generator = SamAutomaticMaskGenerator(
            self._sam,
            points_per_side=generator.points_per_side,
            points_per_batch=generator.points_per_batch,
            pred_iou_thresh=generator.pred_iou_thresh,
            stability_score_thresh=generator.stability_score_thresh,
            box_nms_thresh=generator.box_nms_thresh,
            output_mode="coco_rle",
        )

    def label(self, pixels_HW3: UInt8Array) -> Found:
        """Records."""
        return self._generator.generate(pixels_HW3)

    def rles(self, found: Found) -> Rles:
        """As the records have them."""
        return [one["segmentation"] for one in found]

    def sites(self) -> Iterator[Site]:
        """Its modules, and the functions of its generator."""
        decoder = self._sam.mask_decoder
        yield Site(self._generator.predictor.transform, "apply_image", RESIZE)
        yield Site(self._sam.image_encoder, "forward", EMBED)
        yield Site(self._sam.prompt_encoder, "forward", SCORE)
        yield Site(decoder, "forward", SCORE)
        for module in (decoder.output_upscaling, *decoder.output_hypernetworks_mlps):
            yield Site(module, "forward", FINISH)
        yield Site(self._generator, "_process_batch", POST)
        yield Site(automatic_mask_generator, "batched_nms", NMS)
        yield Site(automatic_mask_generator, "mask_to_rle_pytorch", RLE)
        yield Site(automatic_mask_generator, "coco_encode_rle", RLE)


class HuggingFace:
    """The mask-generation pipeline of Hugging Face's transformers, float32, its own resize and default attention.

    It encodes masks before NMS and decodes them afterwards; both count as RLE.

    Raises:
        LeftOutError: transformers is not installed.
    """

    def __init__(self, sam: Sam, generator: GeneratorConfig, choice: EngineChoice) -> None:
        try:
            from benchmarks.harness import huggingface
        except ImportError as error:
            raise LeftOutError(f"{error}; pip install 'sam-batch[bench]'") from error
        self._pipeline = huggingface.pipeline(sam, choice.device)
        self._module = huggingface.processing
        self._settings = {
            "points_per_crop": generator.points_per_side,
            "points_per_batch": generator.points_per_batch,
            "pred_iou_thresh": generator.pred_iou_thresh,
            "stability_score_thresh": generator.stability_score_thresh,
            "crops_nms_thresh": generator.box_nms_thresh,
            "mask_threshold": sam.mask_threshold,
        }

    def label(self, pixels_HW3: UInt8Array) -> Found:
        """Boolean masks.

        Raises:
            LeftOutError: A mask covers the whole image, on which older releases fail.
        """
        try:
            return list(self._pipeline(Image.fromarray(pixels_HW3), **self._settings)["masks"])
        except IndexError as error:
            raise LeftOutError(f"its pipeline failed: {error}") from error

    def rles(self, found: Found) -> Rles:
        """Encoded."""
        return [coco.encode(np.asfortranarray(one, dtype=np.uint8)) for one in found]

    def sites(self) -> Iterator[Site]:
        """Its modules, and the functions of its image processor."""
        model, processor = self._pipeline.model, self._pipeline.image_processor
        decoder = model.mask_decoder
        yield Site(processor, "preprocess", RESIZE)
        yield Site(model.vision_encoder, "forward", EMBED)
        yield Site(model.prompt_encoder, "forward", SCORE)
        yield Site(decoder, "forward", SCORE)
        upscaling = (decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2)
        for module in (*upscaling, *decoder.output_hypernetworks_mlps):
            yield Site(module, "forward", FINISH)
        for name in ("post_process_masks", "filter_masks", "post_process_for_mask_generation"):
            yield Site(processor, name, POST)
        yield Site(self._module, "batched_nms", NMS)
        yield Site(self._module, "_mask_to_rle", RLE)
        yield Site(self._module, "_rle_to_mask", RLE)


class Ours:
    """This package: `segment.everything` on a `TorchEngine`, in the precision that was asked for.

    One image after the other, as the others go. On a GPU a job does more at once: `harness.job` measures that.
    """

    def __init__(self, sam: Sam, generator: GeneratorConfig, choice: EngineChoice) -> None:
        self._generator = generator
        self._engine: Engine = TorchEngine(
            copy.deepcopy(sam), SAM, model="benchmark", precision=choice.precision, device=choice.device
        )
        self._size_hw = (0, 0)

    @property
    def model(self) -> SamModel:
        """The arranged modules inside the torch engine."""
        arranged = vars(self._engine)["_model"]
        assert isinstance(arranged, SamModel)
        return arranged

    def label(self, pixels_HW3: UInt8Array) -> Found:
        """Annotations."""
        self._size_hw = pixels_HW3.shape[:2]
        boxes = views.crop_views((pixels_HW3.shape[0], pixels_HW3.shape[1]), self._generator)
        cut = views.cut_views(pixels_HW3, boxes, self._engine.spec.image_side)
        return everything.segment(self._engine, cut, *self._size_hw, self._generator)

    def rles(self, found: Found) -> Rles:
        """As the annotations have them."""
        return [as_coco(one.counts, *self._size_hw) for one in found]

    def sites(self) -> Iterator[Site]:
        """The engine's methods, and the steps of everything mode."""
        yield Site(views, "cut_views", RESIZE)
        yield Site(self._engine, "embed", EMBED)
        yield Site(self._engine, "score", SCORE)
        yield Site(self._engine, "finish", FINISH)
        yield Site(finish, "stable_masks", POST)
        yield Site(everything, "suppress_within_crop", NMS)
        yield Site(everything, "annotate", RLE)


class Compiled(Ours):
    """`Ours` with torch.compile around the image encoder; the decoder is as it is in `Ours`.

    On a CPU the compiler works for minutes and gains nothing. There, if that is asked for, the encoder is only traced:
    it shows that the compiler understands it.

    Raises:
        LeftOutError: On a CPU, unless it is to be traced.
    """

    def __init__(
        self, sam: Sam, generator: GeneratorConfig, choice: EngineChoice, *, trace_on_cpu: bool = False
    ) -> None:
        on_cpu = choice.device == "cpu"
        if on_cpu and not trace_on_cpu:
            raise LeftOutError("torch.compile is measured on CUDA alone")
        super().__init__(sam, generator, choice)
        self.model.encoder.compile(backend="aot_eager" if on_cpu else "inductor")


class Graphs(Ours):
    """`Ours` with CUDA graphs: of the image encoder, and of the decoder's transformer for each batch of prompts.

    Raises:
        LeftOutError: There is no GPU.
    """

    def __init__(
        self, sam: Sam, generator: GeneratorConfig, choice: EngineChoice, *, capture: Capture = cuda_graph
    ) -> None:
        if choice.device == "cpu" and capture is cuda_graph:
            raise LeftOutError("a CPU has no CUDA graphs")
        super().__init__(sam, generator, choice)
        encoder, decoder = self.model.encoder, self.model.decoder
        for part, name in ((encoder, "forward"), (decoder, "_transform")):
            setattr(part, name, Recorded(getattr(part, name), capture))


class TensorRT(Ours):
    """`Ours` on TensorRT engines, built from the same weights into a temporary folder before the clock runs.

    Verification is left out: the agreement of masks is measured here anyway.

    Raises:
        LeftOutError: TensorRT is not installed, there is no GPU, or the engines cannot be built.
    """

    def __init__(self, sam: Sam, generator: GeneratorConfig, choice: EngineChoice, **settings: Any) -> None:
        try:
            engine = tensorrt.build(copy.deepcopy(sam), generator, choice, settings)
        except SamBatchError as error:
            raise LeftOutError(str(error)) from error
        self._generator, self._engine, self._size_hw = generator, engine, (0, 0)


SYSTEMS: dict[str, type[System]] = {
    "reference": Reference,
    "huggingface": HuggingFace,
    "ours": Ours,
    "graphs": Graphs,
    "compile": Compiled,
    "tensorrt": TensorRT,
}
