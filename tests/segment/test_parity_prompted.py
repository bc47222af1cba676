"""Prompted mode gives the masks of segment-anything's SamPredictor, for every combination of prompts."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from support.masks import run_lengths
from support.pictures import picture
from support.reference import Whole, as_sam
from support.small_sam import small_sam, torch_engine
from support.tensorrt_engines import built_engine

from benchmarks.harness import weights
from sam_batch import compat
from sam_batch.config import InputConfig
from sam_batch.data import pixels
from sam_batch.engine.protocol import Embeddings, Engine
from sam_batch.masks.low_res import mask_logits
from sam_batch.model.load import load_model
from sam_batch.records import ImageRef, LoadedImage, Prompt, UInt8Array, View
from sam_batch.segment.embeddings import Embedder
from sam_batch.segment.prompted import Answer, Prompted
from sam_batch.segment.views import cut_views, whole_view

EXAMPLES = Path(__file__).parents[2] / "examples"

A, B, C = (0.3, 0.4), (0.6, 0.55), (0.8, 0.2)  # shares of width and height
BOXES = [(0.1, 0.2, 0.5, 0.7), (0.4, 0.1, 0.95, 0.6), (0.55, 0.5, 0.8, 0.9)]
CASES: dict[str, list[dict[str, Any]]] = {
    "one point": [{"points": [A], "labels": [1]}],
    "several points of one object": [{"points": [A, B], "labels": [1, 1]}],
    "several points of several objects": [{"points": [A], "labels": [1]}, {"points": [B], "labels": [1]}],
    "foreground and background": [{"points": [A, B, C], "labels": [1, 0, 0]}],
    "one box": [{"box": BOXES[0]}],
    "a box and a background point": [{"box": BOXES[0], "points": [A], "labels": [0]}],
    "boxes with points": [
        {"box": box, "points": [point], "labels": [1]} for box, point in zip(BOXES, (A, C, B), strict=True)
    ],
    "several boxes": [{"box": box} for box in BOXES],
    "a mask of the image's size": [{"mask": BOXES[0]}],
    "masks of the image's size with boxes": [{"box": box, "mask": box} for box in BOXES],
    "nothing": [{}],
}


def prompts_of(case: str, image: UInt8Array) -> list[Prompt]:
    height, width = image.shape[:2]

    def corners(box: Any) -> Any:
        return None if box is None else tuple(np.multiply(box, (width, height) * 2).tolist())

    def filled(box: Any) -> str:
        mask = np.zeros((height, width), dtype=bool)
        x0, y0, x1, y1 = map(round, corners(box))
        mask[y0:y1, x0:x1] = True
        return run_lengths(mask)

    def prompt(points: Any = (), labels: Any = (), box: Any = None, mask: Any = None) -> Prompt:
        scaled = tuple((x * width, y * height) for x, y in points)
        return Prompt(scaled, tuple(labels), corners(box), None if mask is None else filled(mask))

    return [prompt(**parts) for parts in CASES[case]]


class Look(NamedTuple):
    """An engine that has embedded an image, once for all prompts."""

    engine: Engine
    image: UInt8Array
    views: tuple[View, ...]
    embeddings: Embeddings


def look(engine: Engine, image: UInt8Array) -> Look:
    views = cut_views(image, whole_view((image.shape[0], image.shape[1])), engine.spec.image_side)
    (embeddings,) = Embedder(engine).embed([views])
    return Look(engine, image, views, next(embeddings))


def answers(seen: Look, prompts: list[Prompt], **options: Any) -> list[Answer]:
    height, width = seen.image.shape[:2]
    loaded = LoadedImage(ImageRef(0, "", ""), height, width, "", b"", seen.views, prompts=tuple(prompts))
    return Prompted(seen.engine, keep_logits=True, **options).find(loaded, iter([seen.embeddings]))


def predict(predictor: SamPredictor, prompt: Prompt, multimask: bool, logits: bool = False) -> Any:
    return predictor.predict(
        np.array(prompt.points) if prompt.points else None,
        np.array(prompt.labels) if prompt.points else None,
        box=None if prompt.box is None else np.array(prompt.box),
        mask_input=mask_input(predictor, prompt),
        multimask_output=multimask,
        return_logits=logits,
    )


def mask_input(predictor: SamPredictor, prompt: Prompt) -> np.ndarray | None:
    """(1, h, w) of a prompt's mask or logits."""
    side = predictor.model.image_encoder.img_size
    if prompt.mask is not None:
        return mask_logits(prompt.mask, predictor.original_size, predictor.input_size, side, side // 4)[None]
    if prompt.logits is None:
        return None
    return np.frombuffer(prompt.logits, np.float32).reshape(1, side // 4, side // 4).copy()


def predict_together(predictor: SamPredictor, prompts: list[Prompt], multimask: bool) -> Any:
    """`predict_torch` of prompts of one shape."""
    size = predictor.original_size
    points = np.array([prompt.points for prompt in prompts]) if prompts[0].points else None
    boxes = np.array([prompt.box for prompt in prompts]) if prompts[0].box else None
    masks = [mask_input(predictor, prompt) for prompt in prompts]
    return predictor.predict_torch(
        None if points is None else torch.as_tensor(predictor.transform.apply_coords(points, size)).float(),
        None if points is None else torch.tensor([prompt.labels for prompt in prompts]),
        None if boxes is None else torch.as_tensor(predictor.transform.apply_boxes(boxes, size)).float(),
        None if masks[0] is None else torch.from_numpy(np.stack(masks)),
        multimask,
    )


def photograph_of(name: str) -> UInt8Array:
    return pixels.decode((EXAMPLES / f"{name}.jpg").read_bytes(), InputConfig(uri="-")).rgb_HW3


def predictor_of(sam: Sam, image: UInt8Array, kind: type[SamPredictor] = SamPredictor) -> SamPredictor:
    predictor = kind(sam)
    predictor.set_image(image)
    return predictor


def masks_of(answer: Answer, image: UInt8Array) -> np.ndarray:
    return np.stack([candidate.mask.unpack(*image.shape[:2]) for candidate in answer.candidates])


def with_earlier_masks(seen: Look, prompts: list[Prompt]) -> list[Prompt]:
    """The same prompts, with the masks that they found."""
    earlier = answers(seen, prompts, choose="best")
    return [replace(one.prompt, mask=None, logits=one.logits_Mhw[0].numpy().tobytes()) for one in earlier]


IMAGE = picture(90, 128, 3)


@cache
def small() -> Look:
    return look(Whole(torch_engine(small_sam())), IMAGE)


@pytest.fixture(scope="module")
def standin(bindings: Any, exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A TensorRT engine on the stand-in for the library."""
    return built_engine(bindings, exports, tmp_path_factory.mktemp("built"))


def prompts_for(seen: Look, case: str, masked: bool) -> list[Prompt]:
    prompts = prompts_of(case, seen.image)
    return with_earlier_masks(seen, prompts) if masked else prompts


MASKED = pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])


def assert_equal_alone(seen: Look, predictor: SamPredictor, prompts: list[Prompt]) -> None:
    """Each prompt for itself, with three masks and with one, to the bit."""
    for choose, multimask in (("all", True), ("single", False)):
        for answer in answers(seen, prompts, choose=choose, batch=1):
            masks, scores, logits = predict(predictor, answer.prompt, multimask)
            assert np.array_equal(masks_of(answer, seen.image), masks)
            assert [one.predicted_iou for one in answer.candidates] == scores.tolist()
            assert np.array_equal(answer.logits_Mhw.numpy(), logits)


def assert_equal_together(seen: Look, predictor: SamPredictor, prompts: list[Prompt]) -> None:
    """The prompts as one batch, with three masks and with one, to the bit."""
    for choose, multimask in (("all", True), ("single", False)):
        masks, scores, logits = predict_together(predictor, prompts, multimask)
        found = answers(seen, prompts, choose=choose)
        assert np.array_equal(np.stack([masks_of(answer, seen.image) for answer in found]), masks.numpy())
        assert [[one.predicted_iou for one in answer.candidates] for answer in found] == scores.tolist()
        assert torch.equal(torch.stack([answer.logits_Mhw for answer in found]), logits)


@MASKED
@pytest.mark.parametrize("case", CASES)
def test_on_one_engine_the_masks_are_equal_to_the_bit(case: str, masked: bool) -> None:
    """Alone and together; also with the masks of an earlier round beside."""
    seen, prompts = small(), prompts_for(small(), case, masked)
    predictor = predictor_of(as_sam(seen.engine), IMAGE)
    assert_equal_alone(seen, predictor, prompts)
    assert_equal_together(seen, predictor, prompts)


@MASKED
@pytest.mark.parametrize("case", CASES)
def test_the_predictor_of_compat_gives_them_too(case: str, masked: bool) -> None:
    prompts, predictor = prompts_for(small(), case, masked), predictor_of(small_sam(), IMAGE, compat.SamPredictor)
    assert_equal_alone(small(), predictor, prompts)
    assert_equal_together(small(), predictor, prompts)


@MASKED
@pytest.mark.parametrize("case", CASES)
def test_on_a_tensorrt_engine_they_are_equal_to_the_bit(case: str, masked: bool, standin: Engine) -> None:
    seen = look(Whole(standin), IMAGE)
    prompts, predictor = prompts_for(seen, case, masked), predictor_of(as_sam(seen.engine), IMAGE)
    assert_equal_alone(seen, predictor, prompts)
    assert_equal_together(seen, predictor, prompts)


def assert_near(sam: Sam, engine: Engine, image: UInt8Array, score: float, logit: float, iou: float) -> None:
    """Combinations, plain and with earlier masks, within the bounds by which the reference differs from itself."""
    predictor, seen = predictor_of(sam, image), look(engine, image)
    for case in CASES:
        plain = prompts_of(case, image)
        for prompts in (plain, with_earlier_masks(seen, plain)):
            for choose, multimask in (("all", True), ("single", False)):
                for answer in answers(seen, prompts, choose=choose):
                    full, scores, _ = predict(predictor, answer.prompt, multimask, logits=True)
                    ours, theirs = masks_of(answer, image), full > 0
                    np.testing.assert_allclose([one.predicted_iou for one in answer.candidates], scores, atol=score)
                    assert np.abs(full[ours != theirs]).max(initial=0.0) < logit
                    union = (ours | theirs).sum(axis=(1, 2))
                    # A pixel alone can be more than that of a small mask.
                    assert ((ours & theirs).sum(axis=(1, 2)) >= iou * union - 1).all()


@pytest.mark.parametrize("photograph", ["coffee", "astronaut"])
def test_the_demo_model_gives_the_masks_of_the_reference(photograph: str) -> None:
    image = photograph_of(photograph)
    engine = torch_engine(load_model("demo"))
    assert_near(load_model("demo"), engine, image, score=1e-5, logit=1e-3, iou=0.9999)


def test_a_tensorrt_engine_gives_the_masks_of_the_reference(standin: Engine) -> None:
    sam = small_sam(lively=False)
    assert_near(sam, standin, IMAGE, score=1e-5, logit=1e-3, iou=0.9999)


def random_vit_b(sample: UInt8Array) -> Sam:
    """Calmer than the one that is measured, of which the reference's own logits differ by 0.3 from its float64 ones."""
    sam = weights.random_sam(weights.BUILDERS["vit_b"], attention=7.0, values=3.5)
    weights.tune(sam, sample)
    return sam


@pytest.mark.slow
def test_vit_b_of_random_weights_gives_the_masks_of_the_reference() -> None:
    image = photograph_of("coffee")
    assert_near(random_vit_b(image), torch_engine(random_vit_b(image)), image, score=5e-4, logit=5e-2, iou=0.997)
