"""Boxes to masks against segment-anything's `SamPredictor`: a thousand on one image, and a few on each of several.

Three systems in one process, on the same weights, boxes and images, in turns: segment-anything's `predict_torch` in
chunks of 64, `sam_batch.compat`'s in its place, and this package's prompted mode as jobs and `Segmenter` use it. All
end with one mask a box as COCO run lengths: the single mask of a box, or the best of its three. Turns are chunks of
boxes or whole images, so that a busy machine is as busy for each; CPU time says more than the clock there. Masks are
compared in float32 and must be those of the reference. First comes a ceiling: what the published model asks of this
device. At the end one JSON line. It says nothing about the quality of masks.

    python benchmarks/prompts.py --model vit_b --precision fp32 --boxes 1000
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import segment_anything
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from segment_anything.modeling import Sam

from benchmarks.harness import arguments as shared
from benchmarks.harness import ceiling
from benchmarks.harness.environment import describe, environment
from benchmarks.harness.measure import load
from benchmarks.harness.stopwatch import Spent, timed
from benchmarks.harness.weights import BUILDERS, load_model
from sam_batch import compat
from sam_batch.config import EngineConfig
from sam_batch.engine.choice import EngineChoice
from sam_batch.engine.factory import resolve
from sam_batch.engine.protocol import Embeddings
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.masks.rle import as_coco
from sam_batch.model.precision import DTYPES
from sam_batch.model.sam.family import SAM
from sam_batch.records import ImageRef, LoadedImage, Prompt, UInt8Array
from sam_batch.segment.candidates import annotate
from sam_batch.segment.embeddings import Embedder
from sam_batch.segment.prompted import Prompted
from sam_batch.segment.views import cut_views, whole_view

CHUNK = 64
BOXES_AN_IMAGE = 7  # of COCO's train2017
CLOSE = {"demo": 0.9999}  # mean IoU that masks should have with the reference's
CLOSE_OF_RANDOM_WEIGHTS = 0.997
OTHER = 0.9  # IoU below which a mask is another candidate
EQUAL_SCORES = 1e-4  # two candidates with scores as near may change places

Boxes = NDArray[np.float64]
Rle = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One box's mask and its predicted IoU."""

    rle: Rle
    score: float


class System(Protocol):
    """Boxes to masks, as somebody wrote it."""

    def set_image(self, pixels_HW3: UInt8Array) -> None:
        """Embed an image."""
        ...

    def segment(self, boxes_P4: Boxes) -> list[Answer]:
        """One mask a box, xyxy in pixels of the image."""
        ...


class Predictor:
    """`SamPredictor`, segment-anything's or that of `sam_batch.compat`; masks are encoded by pycocotools."""

    def __init__(self, predictor: segment_anything.SamPredictor, multimask: bool) -> None:
        self._predictor, self._multimask = predictor, multimask

    def set_image(self, pixels_HW3: UInt8Array) -> None:
        """As its users do."""
        self._predictor.set_image(pixels_HW3)

    def segment(self, boxes_P4: Boxes) -> list[Answer]:
        """Chunk by chunk."""
        chunks = (boxes_P4[start : start + CHUNK] for start in range(0, len(boxes_P4), CHUNK))
        return [answer for chunk in chunks for answer in self._segment(chunk)]

    def _segment(self, boxes_P4: Boxes) -> list[Answer]:
        predictor = self._predictor
        boxes = torch.as_tensor(boxes_P4, dtype=torch.float, device=predictor.device)
        boxes = predictor.transform.apply_boxes_torch(boxes, predictor.original_size)
        masks, scores, _ = predictor.predict_torch(None, None, boxes, multimask_output=self._multimask)
        best_P = scores.argmax(dim=1)
        rows_P = torch.arange(len(best_P))
        masks_PHW = masks[rows_P, best_P.to(masks.device)].cpu().numpy()
        rles = coco.encode(np.asfortranarray(masks_PHW.transpose(1, 2, 0).view(np.uint8)))
        return [
            Answer(as_coco(rle["counts"].decode(), *rle["size"]), score)
            for rle, score in zip(rles, scores[rows_P.to(scores.device), best_P].tolist(), strict=True)
        ]


class Ours:
    """Prompted mode, as a job runs it: one `Prompt` a box."""

    def __init__(self, engine: TorchEngine, choose: str) -> None:
        self._engine = engine
        self._algorithm = Prompted(engine, choose=choose, batch=CHUNK)
        self._image: LoadedImage
        self._embedding: Embeddings

    def set_image(self, pixels_HW3: UInt8Array) -> None:
        """Cut the view, as a loader does, and embed it."""
        height, width = pixels_HW3.shape[:2]
        views = cut_views(pixels_HW3, whole_view((height, width)), self._engine.spec.image_side)
        self._image = LoadedImage(ImageRef(0, "", ""), height, width, "", b"", views)
        (embeddings,) = Embedder(self._engine).embed([views])
        self._embedding = next(embeddings)

    def segment(self, boxes_P4: Boxes) -> list[Answer]:
        """All at once."""
        height, width = self._image.height, self._image.width
        prompts = tuple(Prompt(box=tuple(box)) for box in boxes_P4.tolist())
        shown = LoadedImage(self._image.ref, height, width, "", b"", self._image.views, prompts=prompts)
        answers = self._algorithm.find(shown, iter([self._embedding]))
        candidates = [candidate for answer in answers for candidate in answer.candidates]
        found = annotate(candidates, (height, width), keep_empty=True)
        return [Answer(as_coco(one.counts, height, width), one.predicted_iou) for one in found]


@dataclass
class Comparison:
    """What a system's masks are to the reference's.

    Attributes:
        masks: How many.
        identical: To the bit.
        other_choice: Another candidate, whose predicted IoU is within `EQUAL_SCORES` of the reference's.
        mean_iou: Of all but these.
        lowest_iou: Likewise; of a small mask few pixels are many.
    """

    masks: int = 0
    identical: int = 0
    other_choice: int = 0
    mean_iou: float = 1.0
    lowest_iou: float = 1.0

    def add(self, ours: Answer, reference: Answer) -> None:
        """Compare one mask."""
        self.masks += 1
        iou = 1.0
        if ours.rle == reference.rle:
            self.identical += 1
        else:
            union, both = (int(coco.area(coco.merge([ours.rle, reference.rle], only))) for only in (False, True))
            iou = both / union
        if iou < OTHER and abs(ours.score - reference.score) <= EQUAL_SCORES:
            self.other_choice += 1
            return
        self.mean_iou += (iou - self.mean_iou) / (self.masks - self.other_choice)
        self.lowest_iou = min(self.lowest_iou, iou)

    def require(self, close: float) -> None:
        """End the program where the masks are others than the reference's."""
        if self.mean_iou < close or self.other_choice > max(1, self.masks // 50):
            sys.exit(f"the masks are not the reference's: {self}")


@dataclass
class Scene:
    """What was measured: seconds of each system, and what its masks are to the reference's."""

    spent: dict[str, Spent] = field(default_factory=dict)
    compared: dict[str, Comparison] = field(default_factory=dict)

    def turn(self, work: dict[str, Callable[[], list[Answer]]], device: torch.device) -> None:
        """Let each system do the same, one after the other."""
        answers = {}
        for name, segment in work.items():
            spent, answers[name] = timed(segment, device)
            before = self.spent.get(name, Spent(0.0, 0.0))
            self.spent[name] = Spent(before.wall + spent.wall, before.cpu + spent.cpu)
        for name in [name for name in work if name != "reference"]:
            compared = self.compared.setdefault(name, Comparison())
            for ours, reference in zip(answers[name], answers["reference"], strict=True):
                compared.add(ours, reference)

    def summary(self) -> dict[str, Any]:
        """For the last line."""
        reference = self.spent["reference"]
        return {
            name: {
                "seconds": round(spent.wall, 2),
                "cpu_seconds": round(spent.cpu, 2),
                "speedup": round(reference.wall / spent.wall, 2),
                "cpu_speedup": round(reference.cpu / max(spent.cpu, 1e-9), 2),
                **({} if name == "reference" else vars(self.compared[name])),
            }
            for name, spent in self.spent.items()
        }


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = shared.parser(__doc__, precision="fp32", whose="ours; the reference uses fp32")
    parser.add_argument("--choose", choices=("single", "best"), nargs="+", default=["single", "best"])
    parser.add_argument("--boxes", type=int, default=1000, help="on one image")
    parser.set_defaults(long_side=640)  # as COCO's images
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    choice = resolve(
        EngineConfig(device=arguments.device, precision=arguments.precision), has_gpus=torch.cuda.is_available()
    )
    images = [load(path, arguments.long_side) for path in arguments.images]
    sam, weights, _ = load_model(arguments.model, arguments.checkpoint, images[0], 8)
    print(
        f"{arguments.model} with {weights}, {choice.precision}, on {describe(choice.device)}; torch {torch.__version__}"
    )
    state_ceiling(arguments.model, choice)
    close = close_for(arguments, choice)
    scenes: dict[str, dict[str, Any]] = {}
    for choose in arguments.choose:
        systems = build(sam, choice, choose)
        one_image = measure_one_image(systems, images[0], arguments.boxes, choice)
        several = measure_images(systems, images, choice)
        for what, scene in (("one_image", one_image), ("images", several)):
            scenes[f"{what}_{choose}"] = scene.summary()
            print_scene(f"{what}, {choose}", scene)
        for compared in (*one_image.compared.values(), *several.compared.values()):
            compared.require(close)
    print(
        json.dumps(
            {
                "benchmark": "prompts",
                "model": arguments.model,
                "weights": weights,
                "device": describe(choice.device),
                **environment(choice.device),
                "precision": choice.precision,
                "boxes_on_one_image": arguments.boxes,
                "images": len(images),
                "boxes_an_image": BOXES_AN_IMAGE,
                "scenes": scenes,
            }
        )
    )


def close_for(arguments: argparse.Namespace, choice: EngineChoice) -> float:
    """The IoU that masks must have with the reference's; of half precision nothing is asked."""
    if choice.precision != "fp32":
        return 0.0
    return 0.9999 if arguments.checkpoint else CLOSE.get(arguments.model, CLOSE_OF_RANDOM_WEIGHTS)


def state_ceiling(model: str, choice: EngineChoice) -> None:
    """Print what the published model asks of this device; what is shared between prompts may be less."""
    rate = ceiling.matrix_rate(torch.device(choice.device), DTYPES[choice.precision])
    with torch.device("meta"):
        skeleton = BUILDERS[model]()
    encoder, decoder = ceiling.work_of_encoder(skeleton).flops, ceiling.work_of_decoder(skeleton, CHUNK).flops / CHUNK
    print(
        f"ceiling: {rate / 1e12:.3g} TFLOP/s in {choice.precision} products; at that rate the model as published "
        f"embeds in {encoder / rate:.3g} s and decodes a box in {decoder / rate * 1e3:.3g} ms\n",
        flush=True,
    )


def build(sam: Sam, choice: EngineChoice, choose: str) -> dict[str, System]:
    """Each with weights of its own, so that none finds them in a cache."""

    def own() -> Sam:
        return copy.deepcopy(sam).to(choice.device)

    multimask = choose == "best"
    engine = TorchEngine(own(), SAM, model="benchmark", precision=choice.precision, device=choice.device)
    return {
        "reference": Predictor(segment_anything.SamPredictor(own()), multimask),
        "compat": Predictor(compat.SamPredictor(own(), choice.precision), multimask),
        "ours": Ours(engine, choose),
    }


def draw_boxes(image_HW3: UInt8Array, count: int, seed: int) -> Boxes:
    """(count, 4) xyxy of all sizes, from a hundredth of the image's area to half of it."""
    rng = np.random.default_rng(seed)
    height, width = image_HW3.shape[:2]
    side, ratio = np.exp(rng.uniform(np.log(0.1), np.log(0.7), count)), np.exp(rng.uniform(-0.5, 0.5, count))
    sizes_P2 = np.stack([side * ratio, side / ratio], axis=1).clip(0.02, 1) * (width, height)
    corners_P2 = rng.uniform(0, 1, (count, 2)) * ((width, height) - sizes_P2)
    return np.concatenate([corners_P2, corners_P2 + sizes_P2], axis=1)


def measure_one_image(systems: dict[str, System], image: UInt8Array, count: int, choice: EngineChoice) -> Scene:
    """Many boxes on one image, whose embedding is not counted."""
    scene, boxes_P4 = Scene(), draw_boxes(image, count, seed=0)
    for system in systems.values():
        system.set_image(image)
        system.segment(boxes_P4[:CHUNK])  # what is compiled once
    for start in range(0, count, CHUNK):
        chunk = boxes_P4[start : start + CHUNK]
        work = {name: partial(system.segment, chunk) for name, system in systems.items()}
        scene.turn(work, torch.device(choice.device))
    return scene


def measure_images(systems: dict[str, System], images: Sequence[UInt8Array], choice: EngineChoice) -> Scene:
    """A few boxes on each of several images, from pixels to run lengths."""

    def label(system: System, image: UInt8Array, boxes_P4: Boxes) -> list[Answer]:
        system.set_image(image)
        return system.segment(boxes_P4)

    scene = Scene()
    for seed, image in enumerate(images):
        boxes_P4 = draw_boxes(image, BOXES_AN_IMAGE, seed)
        work = {name: partial(label, system, image, boxes_P4) for name, system in systems.items()}
        scene.turn(work, torch.device(choice.device))
    return scene


def print_scene(title: str, scene: Scene) -> None:
    print(title)
    for name, row in scene.summary().items():
        line = f"  {name:<10} {row['seconds']:>8.2f} s {row['cpu_seconds']:>8.2f} s of CPU"
        if name != "reference":
            line += f"  {row['speedup']:.2f} times as fast ({row['cpu_speedup']:.2f} by CPU time); "
            line += f"{row['identical']} of {row['masks']} masks identical, {row['other_choice']} of equal scores, "
            line += f"IoU {row['mean_iou']:.5f} in the mean, {row['lowest_iou']:.5f} at least"
        print(line, flush=True)


if __name__ == "__main__":
    main()
