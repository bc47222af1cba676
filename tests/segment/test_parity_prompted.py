"""Prompted mode gives the masks of segment-anything's SamPredictor, for every combination of prompts."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from support.pictures import picture
from support.reference import Whole, as_sam
from support.small_sam import small_sam, torch_engine

from benchmarks.harness import weights
from sam_batch.config import InputConfig
from sam_batch.data import pixels
from sam_batch.engine.protocol import Engine
from sam_batch.model.load import load_model
from sam_batch.records import ImageRef, LoadedImage, Prompt, UInt8Array
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
    "nothing": [{}],
}


def prompts_of(case: str, image: UInt8Array) -> list[Prompt]:
    height, width = image.shape[:2]

    def prompt(points: Any = (), labels: Any = (), box: Any = None) -> Prompt:
        corners = None if box is None else tuple(np.multiply(box, (width, height) * 2).tolist())
        return Prompt(tuple((x * width, y * height) for x, y in points), tuple(labels), corners)

    return [prompt(**parts) for parts in CASES[case]]


def answers(engine: Engine, image: UInt8Array, prompts: list[Prompt], **options: Any) -> list[Answer]:
    size = (image.shape[0], image.shape[1])
    views = cut_views(image, whole_view(size), engine.spec.image_side)
    loaded = LoadedImage(ImageRef(0, "", ""), *size, "", b"", views, prompts=tuple(prompts))
    (embeddings,) = Embedder(engine).embed([views])
    return Prompted(engine, keep_logits=True, **options).find(loaded, embeddings)


def predict(predictor: SamPredictor, prompt: Prompt, multimask: bool, logits: bool = False) -> Any:
    mask = None
    if prompt.logits is not None:
        side = predictor.model.image_encoder.img_size // 4
        mask = np.frombuffer(prompt.logits, np.float32).reshape(1, side, side).copy()
    return predictor.predict(
        np.array(prompt.points) if prompt.points else None,
        np.array(prompt.labels) if prompt.points else None,
        box=None if prompt.box is None else np.array(prompt.box),
        mask_input=mask,
        multimask_output=multimask,
        return_logits=logits,
    )


def photograph_of(name: str) -> UInt8Array:
    return pixels.decode((EXAMPLES / f"{name}.jpg").read_bytes(), InputConfig(uri="-")).rgb_HW3


def predictor_of(sam: Sam, image: UInt8Array) -> SamPredictor:
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    return predictor


def masks_of(answer: Answer, image: UInt8Array) -> np.ndarray:
    return np.stack([candidate.mask.unpack(*image.shape[:2]) for candidate in answer.candidates])


def with_earlier_masks(engine: Engine, image: UInt8Array, prompts: list[Prompt]) -> list[Prompt]:
    """The same prompts, with the masks that they found."""
    earlier = answers(engine, image, prompts, choose="best")
    return [replace(one.prompt, logits=one.logits_Mhw[0].numpy().tobytes()) for one in earlier]


@cache
def small() -> tuple[Engine, UInt8Array]:
    return Whole(torch_engine(small_sam())), picture(90, 128, 3)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("case", CASES)
def test_on_one_engine_the_masks_are_equal_to_the_bit(case: str, masked: bool) -> None:
    """Alone, with three masks and with one; also with the mask of an earlier round beside."""
    engine, image = small()
    prompts = prompts_of(case, image)
    if masked:
        prompts = with_earlier_masks(engine, image, prompts)
    predictor = predictor_of(as_sam(engine), image)
    for choose, multimask in (("all", True), ("single", False)):
        found = answers(engine, image, prompts, choose=choose, batch=1)
        for answer in found:
            masks, scores, logits = predict(predictor, answer.prompt, multimask)
            assert np.array_equal(masks_of(answer, image), masks)
            assert [one.predicted_iou for one in answer.candidates] == scores.tolist()
            assert np.array_equal(answer.logits_Mhw.numpy(), logits)


@pytest.mark.parametrize("case", ["several points of several objects", "several boxes", "boxes with points"])
def test_on_one_engine_a_batch_is_equal_to_predict_torch(case: str) -> None:
    engine, image = small()
    prompts = prompts_of(case, image)
    predictor = predictor_of(as_sam(engine), image)
    size = image.shape[:2]
    points = np.array([prompt.points for prompt in prompts]) if prompts[0].points else None
    boxes = np.array([prompt.box for prompt in prompts]) if prompts[0].box else None
    masks, _, _ = predictor.predict_torch(
        None if points is None else torch.as_tensor(predictor.transform.apply_coords(points, size)).float(),
        None if points is None else torch.tensor([prompt.labels for prompt in prompts]),
        None if boxes is None else torch.as_tensor(predictor.transform.apply_boxes(boxes, size)).float(),
    )
    found = answers(engine, image, prompts, choose="all")
    assert np.array_equal(np.stack([masks_of(answer, image) for answer in found]), masks.numpy())


def assert_near(sam: Sam, engine: Engine, image: UInt8Array, score: float, logit: float, iou: float) -> None:
    """All combinations, plain and with earlier masks, within the bounds by which the reference differs from itself."""
    predictor = predictor_of(sam, image)
    for case in CASES:
        plain = prompts_of(case, image)
        for prompts in (plain, with_earlier_masks(engine, image, plain)):
            for choose, multimask in (("all", True), ("single", False)):
                for answer in answers(engine, image, prompts, choose=choose):
                    full, scores, _ = predict(predictor, answer.prompt, multimask, logits=True)
                    ours, theirs = masks_of(answer, image), full > 0
                    np.testing.assert_allclose([one.predicted_iou for one in answer.candidates], scores, atol=score)
                    assert np.abs(full[ours != theirs]).max(initial=0.0) < logit
                    union = (ours | theirs).sum(axis=(1, 2))
                    # One pixel alone can be more than that of a small mask.
                    assert ((ours & theirs).sum(axis=(1, 2)) >= iou * union - 1).all()


@pytest.mark.parametrize("photograph", ["coffee", "astronaut"])
def test_the_demo_model_gives_the_masks_of_the_reference(photograph: str) -> None:
    image = photograph_of(photograph)
    engine = torch_engine(load_model("demo"))
    assert_near(load_model("demo"), engine, image, score=1e-5, logit=1e-3, iou=0.9999)


@pytest.mark.slow
def test_vit_b_of_random_weights_gives_the_masks_of_the_reference() -> None:
    image = photograph_of("coffee")
    sam, _, _ = weights.load_model("vit_b", None, image, 8)
    engine = torch_engine(weights.load_model("vit_b", None, image, 8)[0])
    assert_near(sam, engine, image, score=5e-4, logit=5e-2, iou=0.997)
