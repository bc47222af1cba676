from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import torch
from support.blobs import BlobEngine
from support.pictures import picture

from sam_batch.config import GeneratorConfig
from sam_batch.engine.fake import FakeEngine
from sam_batch.masks import rle
from sam_batch.segment.everything import segment
from sam_batch.segment.views import crop_views, cut_views

GENERATOR = GeneratorConfig(points_per_side=5, pred_iou_thresh=0.3, stability_score_thresh=0.3)


def found(image, generator=GENERATOR, engine=None):
    engine = engine or BlobEngine()
    views = cut_views(image, crop_views(image.shape[:2], generator), engine.spec.image_side)
    return segment(engine, views, *image.shape[:2], generator)


class CountingEngine(BlobEngine):
    """Counts what it is asked to finish."""

    def __init__(self):
        self.finished = 0

    def finish(self, scored, index_K2):
        self.finished += len(index_K2)
        return super().finish(scored, index_K2)


class SolidEngine(BlobEngine):
    """Logits of one value everywhere."""

    def __init__(self, value):
        self.value = value

    def finish(self, scored, index_K2):
        return torch.full_like(super().finish(scored, index_K2), self.value)


def test_only_masks_above_the_predicted_iou_are_finished():
    keen, all_of_them = CountingEngine(), CountingEngine()
    found(picture(80, 90), GENERATOR.model_copy(update={"pred_iou_thresh": 0.8}), keen)
    found(picture(80, 90), GENERATOR.model_copy(update={"pred_iou_thresh": 0.0}), all_of_them)
    assert all_of_them.finished == 5 * 5 * 3
    assert 0 < keen.finished < all_of_them.finished


def test_scores_are_copied_from_their_device_once_and_nothing_else_is_asked_of_them_there():
    """On a GPU every question is one that the CPU waits for."""

    class RemoteEngine(BlobEngine):
        def score(self, embedding, prompts):
            scored = super().score(embedding, prompts)
            copy = Mock(side_effect=[scored.iou])  # a second time it has nothing
            return replace(scored, iou=Mock(spec_set=["cpu"], cpu=copy))

    assert found(picture(80, 90), engine=RemoteEngine()) == found(picture(80, 90))


def test_nothing_found_is_an_empty_list():
    strict = GeneratorConfig(points_per_side=3, crop_n_layers=1, pred_iou_thresh=1.0, stability_score_thresh=1.0)
    assert found(np.zeros((40, 50, 3), dtype=np.uint8), strict, FakeEngine()) == []


def test_where_no_mask_passes_the_threshold_that_dropped_them_is_named(caplog):
    found(np.zeros((40, 50, 3), dtype=np.uint8), engine=FakeEngine())
    assert "no predicted IoU reached generator.pred_iou_thresh = 0.3; the best were about 0.0" in caplog.text
    caplog.clear()
    found(picture(40, 40))
    assert not caplog.records


def test_one_pixel_is_an_image():
    """Its masks have boxes without an extent, of which suppression keeps all, in the reference as well."""
    assert {one.area for one in found(picture(1, 1), engine=SolidEngine(9.0))} == {1}


def test_a_mask_can_cover_everything():
    (one,) = found(picture(30, 40), engine=SolidEngine(9.0))
    assert (one.area, one.bbox) == (1200, (0.0, 0.0, 40.0, 30.0))
    assert rle.decode(one.counts, 30, 40).all()


def test_a_mask_without_a_pixel_is_never_found():
    lenient = GENERATOR.model_copy(update={"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0})
    assert found(picture(30, 40), lenient, SolidEngine(-9.0)) == []


def test_batches_larger_than_the_grid_change_nothing():
    image = picture(80, 90)
    sizes = [GENERATOR.model_copy(update={"points_per_batch": size}) for size in (7, 25, 1000)]
    first, *others = [found(image, one) for one in sizes]
    assert first
    assert all(one == first for one in others)


class TightEngine(BlobEngine):
    """Has no room to finish more than so many masks at once."""

    def __init__(self, room):
        self.room = room

    def finish(self, scored, index_K2):
        if len(index_K2) > self.room:
            raise torch.OutOfMemoryError("no room")
        return super().finish(scored, index_K2)


def test_memory_that_runs_out_half_way_through_a_batch_changes_nothing(caplog):
    image, generator = picture(200, 300), GENERATOR.model_copy(update={"crop_n_layers": 1})
    assert found(image, generator, TightEngine(6)) == found(image, generator)
    assert "prompts decoded at once" in caplog.text


def test_the_filters_keep_a_subset_in_order():
    image = picture(200, 300)
    full = found(image)
    thinned = found(image, GENERATOR.model_copy(update={"mask_nms_thresh": 0.3, "max_masks_per_image": 3}))
    masks = [one.counts for one in full]
    assert 0 < len(thinned) < len(full)
    assert [masks.index(one.counts) for one in thinned] == sorted(masks.index(one.counts) for one in thinned)
