from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.blobs import BlobEngine
from support.pictures import picture
from support.results import failed, result_of

from sam_batch.config import GeneratorConfig
from sam_batch.masks import rle
from sam_batch.output.schema import results_to_table, table_to_results
from sam_batch.records import ImageRef, LoadedImage, Prompt, PromptResult, Status
from sam_batch.segment import thinning as thinning_of_rows
from sam_batch.segment.embeddings import Embedder
from sam_batch.segment.everything import Everything
from sam_batch.segment.thinning import Thinning
from sam_batch.segment.views import crop_views, cut_views

ENGINE = BlobEngine()
LOW = {"points_per_side": 5, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.3}
SIZE = (60, 70)


def square(y, x, side):
    mask = np.zeros((20, 20), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def found(size=SIZE, keep_candidates=False, **settings):
    generator = GeneratorConfig(**LOW | settings)
    algorithm = Everything(ENGINE, generator, keep_candidates=keep_candidates)
    views = cut_views(picture(*size), crop_views(size, generator), ENGINE.spec.image_side)
    image = LoadedImage(ImageRef(0, "a", "a"), *size, sha256="", data=b"", views=views)
    (embeddings,) = Embedder(ENGINE).embed([views])
    result = algorithm.conclude(image, algorithm.find(image, embeddings))
    (as_row,) = table_to_results(results_to_table([result], {}, candidates=keep_candidates))
    return as_row


def thin(result, thinning, **settings):
    return thinning_of_rows.thin(result, thinning, GeneratorConfig(**LOW | settings))


@pytest.fixture(scope="module")
def stored():
    """What runs with low thresholds leave, by their filters."""
    return {count: found(max_masks_per_image=count) for count in (None, 8)}


@settings(max_examples=15)
@given(st.floats(0.3, 1), st.sampled_from([None, 8]))
def test_a_higher_predicted_iou_leaves_what_a_run_with_it_finds(stored, threshold, count):
    assert thin(stored[count], Thinning(pred_iou_thresh=threshold)) == found(
        pred_iou_thresh=threshold, max_masks_per_image=count
    )


def test_a_threshold_is_compared_as_a_run_does(stored):
    score = next(one.predicted_iou for one in stored[None].annotations if one.predicted_iou < 1)
    assert found(pred_iou_thresh=score) == thin(stored[None], Thinning(pred_iou_thresh=score))


def test_a_higher_stability_drops_what_is_less_stable(stored):
    kept = thin(stored[None], Thinning(stability_score_thresh=0.6)).annotations
    assert [one.counts for one in kept] == [
        one.counts for one in stored[None].annotations if one.stability_score >= 0.6
    ]
    assert 0 < len(kept) < len(stored[None].annotations)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("max_mask_region_area", 900), ("min_mask_area", 300), ("max_mask_area", "20%")),
        *(("mask_nms_thresh", 0.5), ("max_masks_per_image", 3)),
    ],
)
def test_the_filters_of_a_job_do_what_they_do_in_one(stored, setting, value):
    assert thin(stored[None], Thinning(**{setting: value})) == found(**{setting: value})


def test_small_masks_are_dropped_and_the_rest_is_numbered_anew():
    result = thin(result_of("a.jpg", [square(0, 0, 2), square(5, 5, 4)]), Thinning(min_mask_area=5))
    assert [(one.mask_id, one.area) for one in result.annotations] == [(0, 16)]


def test_the_smaller_mask_owns_its_pixels():
    result = result_of("a.jpg", [square(0, 0, 10), square(5, 5, 10), square(2, 2, 3), square(2, 2, 3)])
    kept = thin(result, Thinning(one_owner=True)).annotations
    assert [one.area for one in kept] == [100 - 9, 100 - 25, 9]
    assert kept[1].bbox == (5.0, 5.0, 10.0, 10.0)
    assert sum(rle.decode(one.counts, 20, 20).astype(int) for one in kept).max() == 1
    assert [one.area for one in thin(result, Thinning(one_owner=True, min_mask_area=80)).annotations] == [100]


def test_of_one_owner_a_share_of_the_image_must_be_left():
    result = result_of("a.jpg", [square(0, 0, 10), square(5, 5, 10)])  # 100 pixels and 75 of 400
    assert [one.area for one in thin(result, Thinning(one_owner=True, min_mask_area="20%")).annotations] == [100]


def test_an_image_and_a_prompt_without_masks_are_empty():
    result = result_of("a.jpg", [square(0, 0, 2), square(5, 5, 4)])
    prompts = tuple(Prompt(prompt_id=name) for name in "ab")
    named = zip(result.annotations, prompts, strict=True)
    result = replace(
        result,
        annotations=tuple(replace(one, prompt=prompt) for one, prompt in named),
        prompts=tuple(PromptResult(prompt, Status.OK) for prompt in prompts),
    )
    assert [one.status for one in thin(result, Thinning(min_mask_area=5)).prompts] == ["empty", "ok"]
    assert thin(result, Thinning(min_mask_area=99)).status == Status.EMPTY


def test_a_failed_image_stays_one():
    assert thin(failed("a.jpg"), Thinning(min_mask_area=5, one_owner=True)) == failed("a.jpg")


def test_settings_are_those_that_are_on():
    assert Thinning().settings == {}
    assert Thinning(min_mask_area=3, one_owner=True).settings == {"min_mask_area": 3, "one_owner": True}


CROPS = {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_overlap_ratio": 0.6}
CLEAN = {"min_mask_region_area": 9}
RUNS = [{}, CROPS, CLEAN, CROPS | CLEAN | {"max_masks_per_image": 9, "mask_nms_thresh": 0.8}]
THINNINGS = st.fixed_dictionaries(
    {"stability_score_thresh": st.floats(0.3, 1)},
    optional={
        "pred_iou_thresh": st.floats(0.3, 1),
        **{name: st.floats(0, 1) for name in ("box_nms_thresh", "crop_nms_thresh", "mask_nms_thresh")},
        "min_mask_region_area": st.integers(1, 60),
        "containment_thresh": st.floats(0.3, 1),
        "min_mask_area": st.integers(1, 900),
        "max_masks_per_image": st.integers(1, 20),
    },
)


@cache  # no fixture, whose repr Hypothesis would show
def with_candidates(run=0):
    """What a run of `RUNS` with low thresholds leaves that keeps its candidates."""
    return found(keep_candidates=True, **RUNS[run])


@settings(max_examples=20)
@given(st.sampled_from(range(len(RUNS))), THINNINGS)
def test_of_candidates_any_settings_leave_what_a_run_with_them_finds(run, stricter):
    kept = thin(with_candidates(run), Thinning(**stricter), **RUNS[run])
    assert kept == found(keep_candidates=True, **RUNS[run] | stricter)
    assert replace(kept, candidates=None) == found(**RUNS[run] | stricter)


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.3, 1))
@example(24, 24, 0.5)  # the first crop is as large as the image
def test_so_they_do_in_images_of_a_few_pixels_whose_crops_may_be_equal(height, width, stability):
    run = CROPS | CLEAN | {"crop_overlap_ratio": 0.995, "crop_nms_thresh": 1.0}
    low = found((height, width), keep_candidates=True, **run, stability_score_thresh=0)
    kept = thin(low, Thinning(stability_score_thresh=stability), **run)
    assert replace(kept, candidates=None) == found((height, width), **run | {"stability_score_thresh": stability})


def test_without_candidates_a_higher_stability_may_find_others(stored):
    thinning = Thinning(stability_score_thresh=0.8)
    assert stored[None].annotations == with_candidates().annotations
    assert thin(stored[None], thinning).annotations != thin(with_candidates(), thinning).annotations


def test_an_image_without_masks_may_get_some_again():
    empty = thin(with_candidates(), Thinning(min_mask_area="100%"))
    assert empty.status == Status.EMPTY
    assert thin(empty, Thinning(min_mask_area=1), min_mask_area="100%") == with_candidates()


def test_masks_that_gave_pixels_away_are_chosen_from_no_candidates():
    assert thin(with_candidates(), Thinning(one_owner=True)).candidates is None
