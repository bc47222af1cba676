"""Thresholds that are tried on an explored image leave what the network finds with them."""

from dataclasses import replace

import pytest
from support.jobs import job_config
from support.pictures import picture

from sam_batch import Segmenter
from sam_batch.errors import CheckpointError

PHOTO = picture(120, 160)
GRID = {"points_per_side": 6, "crop_n_layers": 1}


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.from_config(job_config("photos", "out"))


@pytest.fixture(scope="module")
def explored(segmenter):
    return segmenter.explore(PHOTO, **GRID)


@pytest.mark.parametrize(
    "filters",
    [
        {"pred_iou_thresh": 0.9, "stability_score_thresh": 0.9},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.8, "box_nms_thresh": 0.5, "crop_nms_thresh": 0.9},
        {"pred_iou_thresh": 0.95, "stability_score_thresh": 0, "min_mask_region_area": 200, "containment_thresh": 0.9},
    ],
    ids=str,
)
def test_filters_leave_what_everything_finds_with_them(segmenter, explored, filters):
    expected = segmenter.everything(PHOTO, **GRID, **filters)
    assert len(expected) > 3
    assert explored.masks(**filters).annotations == expected.annotations


def test_crops_that_are_as_large_as_the_image_stay_apart_from_it(segmenter):
    equal = GRID | {"crop_overlap_ratio": 0.995, "crop_nms_thresh": 1.0, "crop_n_points_downscale_factor": 2}
    square = PHOTO[:64, :64]
    explored = segmenter.explore(square, **equal)
    assert explored.masks().annotations == segmenter.everything(square, **equal).annotations


def test_what_is_not_given_stays_as_it_was_explored_with(segmenter):
    explored = segmenter.explore(PHOTO, points_per_side=4, pred_iou_thresh=0.3, stability_score_thresh=0.7)
    expected = segmenter.everything(PHOTO, points_per_side=4, pred_iou_thresh=0.3, stability_score_thresh=0.7)
    assert explored.masks().annotations == expected.annotations


def test_what_needs_the_network_is_refused_by_name(explored):
    with pytest.raises(ValueError, match="points_per_side: needs the network"):
        explored.masks(points_per_side=8)


def test_an_embedding_at_hand_changes_nothing_but_the_time(segmenter, explored):
    again = segmenter.explore(PHOTO, embedding=segmenter.embed(PHOTO), **GRID)
    assert again.masks().annotations == explored.masks().annotations
    other = replace(segmenter.embed(PHOTO), origin=replace(segmenter.origin, sha256="0" * 64))
    with pytest.raises(CheckpointError, match="the embedding is of"):
        segmenter.explore(PHOTO, embedding=other, **GRID)


def test_progress_is_the_share_of_the_points_of_all_views(segmenter):
    shares = []
    segmenter.explore(PHOTO, progress=shares.append, points_per_side=4, crop_n_layers=1, points_per_batch=8)
    assert shares == [batch / 10 for batch in range(10)]  # 16 points of the image and 16 of each of its four crops
