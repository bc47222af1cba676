"""Everything mode gives the records of segment-anything's SamAutomaticMaskGenerator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blobs import BlobEngine
from support.masks import run_lengths
from support.pictures import picture
from support.reference import as_sam, assert_same, reference_records
from support.small_sam import small_sam

from sam_batch.config import GeneratorConfig
from sam_batch.data import pixels
from sam_batch.engine.protocol import Engine
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.masks import rle
from sam_batch.records import Annotation, UInt8Array
from sam_batch.segment.everything import segment
from sam_batch.segment.views import cut_views

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = {"small": small_sam}

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


@settings(max_examples=150, derandomize=True)
@given(generator=generators(), height=sides, width=sides.map(lambda side: side * 9 // 7 or 1), seed=st.integers(0, 99))
def test_masks_of_any_shape_end_alike(generator: GeneratorConfig, height: int, width: int, seed: int) -> None:
    """Holes, islands, near-duplicates, cut-off, empty and full masks; the engine gives both sides the same logits."""
    image, engine = picture(height, width, seed), BlobEngine()
    assert_same(label(engine, image, generator), reference_records(as_sam(engine), image, generator), image)


@settings(max_examples=20, derandomize=True)
@given(generator=generators(), height=sides, width=sides, seed=st.integers(0, 99))
def test_a_small_sam_ends_alike(generator: GeneratorConfig, height: int, width: int, seed: int) -> None:
    image = picture(height, width, seed)
    sam = small_sam(seed % 3)
    engine = TorchEngine(small_sam(seed % 3), model="small", precision="fp32", device="cpu")
    assert_same(label(engine, image, generator), reference_records(sam, image, generator), image, sam)


@pytest.mark.parametrize("photograph", ["astronaut", "chelsea", "coffee", "rocket"])
@pytest.mark.parametrize("model", MODELS)
def test_a_photograph_ends_alike(model: str, photograph: str) -> None:
    """As it is, and at half the size with crops and clean-up."""
    image = pixels.decode((EXAMPLES / f"{photograph}.jpg").read_bytes(), 1 << 20)
    sam, engine = MODELS[model](), TorchEngine(MODELS[model](), model=model, precision="fp32", device="cpu")
    lenient = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.5, "box_nms_thresh": 0.95}
    plain = GeneratorConfig(**lenient, points_per_side=8)
    cropped = GeneratorConfig(**lenient, points_per_side=4, crop_n_layers=1, min_mask_region_area=30)
    for shown, generator in ((image, plain), (image[::2, ::2], cropped)):
        ours = label(engine, shown, generator)
        assert ours
        assert_same(ours, reference_records(sam, shown, generator), shown, sam)


def test_the_comparison_sees_a_pixel() -> None:
    """One that no rounding explains."""
    image, generator = picture(60, 80), GeneratorConfig(points_per_side=3, pred_iou_thresh=0.0)
    theirs = reference_records(small_sam(), image, generator)
    ours = label(TorchEngine(small_sam(), model="small", precision="fp32", device="cpu"), image, generator)
    mask = rle.decode(ours[0].counts, 60, 80)
    mask[30, 40] ^= True
    assert_same(ours, theirs, image)
    with pytest.raises(AssertionError):
        assert_same([replace(ours[0], counts=run_lengths(mask)), *ours[1:]], theirs, image, small_sam())


def label(engine: Engine, image: UInt8Array, generator: GeneratorConfig) -> list[Annotation]:
    height, width = image.shape[:2]
    return segment(engine, cut_views(image, generator, engine.spec.image_side), height, width, generator)
