"""What segment-anything's two notebooks do, step by step, with its own classes and with those of `sam_batch.compat`.

The demo model stands for a published one, so thresholds are lower and positions are those of our photographs.
"""

from pathlib import Path

import numpy as np
import pytest
import segment_anything
import torch
from segment_anything.utils.transforms import ResizeLongestSide
from support.threads import one_thread

from sam_batch import compat
from sam_batch.library.segmenter import read_picture
from sam_batch.model.load import load_model

__all__ = ["one_thread"]

EXAMPLES = Path(__file__).parents[1] / "examples"
COFFEE = read_picture(EXAMPLES / "coffee.jpg")
ROCKET = read_picture(EXAMPLES / "rocket.jpg")[::2, ::2].copy()
CUP, TABLE = [300, 200], [40, 360]
CUP_BOX = [100, 60, 420, 330]
KEYS = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}


@pytest.fixture(scope="module", params=[segment_anything, compat], ids=["segment_anything", "sam_batch.compat"])
def library(request):
    return request.param


@pytest.fixture(scope="module")
def sam():
    return load_model("demo").to(device="cpu")


@pytest.fixture(scope="module")
def predictor(library, sam):
    predictor = library.SamPredictor(sam)
    predictor.set_image(COFFEE)
    return predictor


def overlay(image, masks):
    """Masks in random colours over an image, the largest below."""
    drawn, rng = image.astype(float), np.random.default_rng(0)
    for mask in sorted(masks, key=np.sum, reverse=True):
        drawn[mask] = 0.65 * drawn[mask] + 0.35 * rng.integers(0, 256, 3)
    return drawn.astype(np.uint8)


def test_all_masks_of_an_image_are_generated_and_shown(library, sam):
    generator = library.SamAutomaticMaskGenerator(
        sam, points_per_side=6, pred_iou_thresh=0.3, stability_score_thresh=0.7
    )
    masks = generator.generate(ROCKET)
    assert len(masks) > 3
    for mask in masks:
        x, y, width, height = mask["bbox"]
        assert mask.keys() == KEYS
        assert mask["segmentation"].shape == ROCKET.shape[:2]
        assert mask["segmentation"].sum() == mask["area"]
        assert mask["segmentation"][y : y + height + 1, x : x + width + 1].sum() == mask["area"]
    drawn = overlay(ROCKET, [mask["segmentation"] for mask in masks])
    assert (drawn != ROCKET).any(axis=2)[masks[0]["segmentation"]].mean() > 0.9


def test_more_masks_are_generated_with_crops_and_cleaned(library, sam):
    generator = library.SamAutomaticMaskGenerator(
        model=sam,
        points_per_side=6,
        pred_iou_thresh=0.3,
        stability_score_thresh=0.7,
        crop_n_layers=1,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=100,
    )
    masks = generator.generate(ROCKET)
    assert len({tuple(mask["crop_box"]) for mask in masks}) > 2
    assert min(mask["area"] for mask in masks) >= 100


def test_a_point_is_ambiguous_and_gets_three_masks(predictor):
    point, label = np.array([CUP]), np.array([1])
    masks, scores, logits = predictor.predict(point_coords=point, point_labels=label, multimask_output=True)
    assert (masks.shape, scores.shape, logits.shape) == ((3, *COFFEE.shape[:2]), (3,), (3, 64, 64))
    assert masks[scores.argmax()][CUP[1], CUP[0]]
    assert overlay(COFFEE, masks).shape == COFFEE.shape


def test_the_best_mask_and_another_point_give_one(predictor):
    _, scores, logits = predictor.predict(np.array([CUP]), np.array([1]), multimask_output=True)
    best = logits[np.argmax(scores), :, :]
    more = np.array([CUP, [200, 150]])
    masks, scores, _ = predictor.predict(more, np.array([1, 1]), mask_input=best[None, :, :], multimask_output=False)
    assert (masks.shape, scores.shape) == ((1, *COFFEE.shape[:2]), (1,))
    background, _, _ = predictor.predict(
        np.array([CUP, TABLE]), np.array([1, 0]), mask_input=best[None, :, :], multimask_output=False
    )
    assert not background[0][TABLE[1], TABLE[0]]


def test_a_box_gives_one_mask_and_a_point_beside_takes_something_away(predictor):
    whole, _, _ = predictor.predict(
        point_coords=None, point_labels=None, box=np.array(CUP_BOX)[None, :], multimask_output=False
    )
    without, _, _ = predictor.predict(
        point_coords=np.array([[150, 300]]), point_labels=np.array([0]), box=np.array(CUP_BOX), multimask_output=False
    )
    assert whole.shape == without.shape == (1, *COFFEE.shape[:2])
    x0, y0, x1, y1 = CUP_BOX
    assert whole[0][y0:y1, x0:x1].sum() > 0.8 * whole.sum()
    assert not without[0][300, 150]


def test_boxes_go_through_in_one_batch(predictor):
    boxes = torch.tensor([CUP_BOX, [0, 0, 120, 200], [430, 10, 590, 160], [20, 250, 200, 390]], device=predictor.device)
    transformed = predictor.transform.apply_boxes_torch(boxes, COFFEE.shape[:2])
    masks, scores, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=transformed, multimask_output=False
    )
    assert (masks.shape, scores.shape) == ((4, 1, *COFFEE.shape[:2]), (4, 1))
    alone, _, _ = predictor.predict(box=np.array(CUP_BOX), multimask_output=False)
    assert (masks[0].cpu().numpy() != alone).sum() <= 2
    assert overlay(COFFEE, [mask[0].cpu().numpy() for mask in masks]).any()


def test_images_with_their_boxes_go_through_from_end_to_end(library, sam):
    resize = library.SamPredictor(sam).transform
    assert isinstance(resize, ResizeLongestSide)

    def prepared(image, boxes):
        pixels = torch.as_tensor(resize.apply_image(image), device=sam.device).permute(2, 0, 1).contiguous()
        scaled = resize.apply_boxes_torch(torch.tensor(boxes), image.shape[:2])
        return {"image": pixels, "boxes": scaled, "original_size": image.shape[:2]}

    batch = [prepared(COFFEE, [CUP_BOX]), prepared(ROCKET, [[150, 50, 180, 175], [5, 5, 100, 100]])]
    outputs = sam(batch, multimask_output=False)
    assert [output.keys() for output in outputs] == [{"masks", "iou_predictions", "low_res_logits"}] * 2
    assert [len(output["masks"]) for output in outputs] == [1, 2]
    assert outputs[1]["masks"].shape[-2:] == ROCKET.shape[:2]
