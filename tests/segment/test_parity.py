"""Everything mode gives the records of segment-anything's SamAutomaticMaskGenerator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import Sam
from support.alike import assert_alike
from support.blobs import BlobEngine
from support.masks import run_lengths
from support.pictures import picture
from support.reference import Whole, as_sam, reference_annotations
from support.rounding import where_torch_rounds_alike
from support.small_sam import small_sam, torch_engine
from support.threads import threads_of_torch

from sam_batch.config import GeneratorConfig, InputConfig
from sam_batch.data import pixels
from sam_batch.engine.protocol import Engine
from sam_batch.masks import rle
from sam_batch.model.load import load_model
from sam_batch.records import Annotation, UInt8Array
from sam_batch.segment.everything import segment
from sam_batch.segment.views import crop_views, cut_views

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOGRAPHS = ["astronaut", "chelsea", "coffee", "rocket"]

sides = st.one_of(st.integers(1, 12), st.integers(13, 200), st.integers(200, 700))
coordinates = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32))


@st.composite
def generators(draw: st.DrawFn, max_side: int = 6) -> GeneratorConfig:
    """Any settings that the reference has."""
    layers = draw(st.sampled_from([0, 0, 1, 2]))
    factor = draw(st.integers(1, 2))
    drawn: dict[str, Any] = {
        "crop_n_layers": layers,
        "crop_n_points_downscale_factor": factor,
        "crop_overlap_ratio": draw(st.floats(0, 0.6)),
        "points_per_batch": draw(st.integers(1, 40)),
        "pred_iou_thresh": draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.88, 0.99])),
        "stability_score_thresh": draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.95, 0.99])),
        "stability_score_offset": draw(st.floats(0.1, 3.0)),
        "box_nms_thresh": draw(st.floats(0, 0.99)),
        "crop_nms_thresh": draw(st.floats(0, 0.99)),
        "min_mask_region_area": draw(st.sampled_from([0, 0, 1, 20, 300])),
    }
    if draw(st.booleans()):
        grids = st.lists(st.lists(coordinates, min_size=1, max_size=9), min_size=layers + 1, max_size=layers + 1)
        return GeneratorConfig(**drawn, point_grids=draw(grids))
    return GeneratorConfig(**drawn, points_per_side=draw(st.integers(factor**layers, max_side)))


@settings(max_examples=60, derandomize=True)
@given(generator=generators(), height=sides, width=sides.map(lambda side: side * 9 // 7 or 1), seed=st.integers(0, 99))
def test_masks_of_any_shape_end_alike(generator: GeneratorConfig, height: int, width: int, seed: int) -> None:
    """Holes, islands, near-duplicates, cut-off, empty and full masks; bit for bit, but for how torch rounds logits."""
    assert_same(BlobEngine(), picture(height, width, seed), generator)


@settings(max_examples=20, derandomize=True)
@given(generator=generators(), height=sides, width=sides, seed=st.integers(0, 99))
def test_masks_of_a_model_end_alike(generator: GeneratorConfig, height: int, width: int, seed: int) -> None:
    """Bit for bit: the reference runs on the same engine."""
    assert_same(Whole(torch_engine(small_sam(seed % 3))), picture(height, width, seed), generator)


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_masks_of_a_photograph_end_alike(photograph: str) -> None:
    """As it is, and at half the size with crops and clean-up; bit for bit, but for how torch rounds logits."""
    engine = Whole(torch_engine(load_model("demo")))
    for shown, generator in shown_twice(photograph, pred_iou_thresh=0.3):
        assert assert_same(engine, shown, generator) > 3


@where_torch_rounds_alike
def test_masks_of_a_photograph_are_the_untouched_references() -> None:
    """Bit for bit, with torch's own up-sampling in several threads."""
    engine = Whole(torch_engine(load_model("demo")))
    with threads_of_torch(2):
        for shown, generator in shown_twice("rocket", pred_iou_thresh=0.3):
            assert assert_same(engine, shown, generator, Sam) > 3


@settings(max_examples=20, derandomize=True)
@given(generator=generators(), height=sides, width=sides, seed=st.integers(0, 99))
def test_a_calm_model_gives_the_same_masks(generator: GeneratorConfig, height: int, width: int, seed: int) -> None:
    """The reference runs on segment-anything's modules, this package on its own; every mask is compared."""
    keep = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}
    every = generator.model_copy(update=keep)
    image, sam = picture(height, width, seed), small_sam(seed % 3, lively=False)
    engine = torch_engine(small_sam(seed % 3, lively=False))
    assert_alike(label(engine, image, every), reference_annotations(sam, image, every), image, sam, every)


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_the_demo_model_gives_the_same_masks(photograph: str) -> None:
    """The reference runs on segment-anything's modules, this package on its own."""
    sam, engine = load_model("demo"), torch_engine(load_model("demo"))
    for shown, generator in shown_twice(photograph, pred_iou_thresh=0.3):
        ours, theirs = label(engine, shown, generator), reference_annotations(sam, shown, generator)
        same = assert_alike(ours, theirs, shown, sam, generator)
        assert same > 3
        assert same >= 0.98 * max(len(ours), len(theirs))


@pytest.fixture(scope="module")
def coffee() -> tuple[list[Annotation], tuple[UInt8Array, Sam, GeneratorConfig]]:
    """Masks, and what they are masks of."""
    (image, generator), _ = shown_twice("coffee", pred_iou_thresh=0.3)
    sam = load_model("demo")
    return reference_annotations(sam, image, generator), (image, sam, generator)


def with_another_pixel(one: Annotation, image: UInt8Array) -> Annotation:
    """In the middle, where no rounding explains it."""
    height, width = image.shape[:2]
    mask = rle.decode(one.counts, height, width)
    row, column = (axis[len(axis) // 2] for axis in mask.nonzero())
    mask[row, column] = False
    return replace(one, counts=run_lengths(mask), area=one.area - 1)


@pytest.mark.parametrize("what", ["pixel", "predicted_iou", "stability_score", "prompt", "missing", "order"])
def test_the_comparison_sees_a_difference(what: str, coffee: Any) -> None:
    theirs, context = coffee
    first, second, *others = theirs
    assert first.predicted_iou - second.predicted_iou > 1e-3
    changed = {
        "pixel": lambda: [with_another_pixel(first, context[0]), second],
        "predicted_iou": lambda: [replace(first, predicted_iou=first.predicted_iou + 1e-3), second],
        "stability_score": lambda: [replace(first, stability_score=first.stability_score - 0.01), second],
        "prompt": lambda: [replace(first, prompt=second.prompt), second],
        "missing": lambda: [second],
        "order": lambda: [second, first],
    }
    assert assert_alike(theirs, theirs, *context) == len(theirs)
    with pytest.raises(AssertionError):
        assert_alike([*changed[what](), *others], theirs, *context)


def test_the_comparison_lets_ties_end_either_way(coffee: Any) -> None:
    (first, second), (image, sam, generator) = coffee[0][:2], coffee[1]
    for score, threshold in (("predicted_iou", "pred_iou_thresh"), ("stability_score", "stability_score_thresh")):
        at_threshold = generator.model_copy(update={threshold: getattr(first, score) + 5e-5})
        assert assert_alike([second], [first, second], image, sam, at_threshold) == 1
        assert assert_alike([first, second], [second], image, sam, at_threshold) == 1
    equal = replace(second, predicted_iou=first.predicted_iou - 5e-5)
    assert assert_alike([equal, first], [first, equal], image, sam, generator) == 2


def assert_same(engine: Engine, image: UInt8Array, generator: GeneratorConfig, kind: type[Sam] | None = None) -> int:
    """The reference on the same engine finds the same, to the last bit; returns how many masks that are."""
    found = label(engine, image, generator)
    assert found == reference_annotations(as_sam(engine, kind), image, generator)
    return len(found)


def shown_twice(photograph: str, **thresholds: float) -> list[tuple[UInt8Array, GeneratorConfig]]:
    """As it is, and at half the size with crops and clean-up; few masks are dropped."""
    image = pixels.decode((EXAMPLES / f"{photograph}.jpg").read_bytes(), InputConfig(uri="-")).rgb_HW3
    lenient = thresholds | {"stability_score_thresh": 0.5, "box_nms_thresh": 0.95}
    plain = GeneratorConfig(**lenient, points_per_side=8)
    cropped = GeneratorConfig(**lenient, points_per_side=4, crop_n_layers=1, min_mask_region_area=30)
    return [(image, plain), (image[::2, ::2], cropped)]


def label(engine: Engine, image: UInt8Array, generator: GeneratorConfig) -> list[Annotation]:
    height, width = image.shape[:2]
    return segment(
        engine,
        cut_views(image, crop_views((height, width), generator), engine.spec.image_side),
        height,
        width,
        generator,
    )
