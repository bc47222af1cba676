from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import picture
from support.small_sam import skeleton

from benchmarks.harness import weights
from sam_batch.model.sam.demo import build_demo
from sam_batch.model.sam.models import DEMO
from sam_batch.segment.views import cut_views, whole_view


@given(st.integers(0, 99), st.floats(0.2, 0.9), st.floats(0.2, 0.9))
def test_thresholds_let_the_shares_pass(seed: int, pass_iou: float, of_those: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    iou_K, stability_K = torch.rand(2, 1000, generator=generator)
    iou, stability = weights.thresholds(iou_K, stability_K, pass_iou, pass_iou * of_those)
    passed = iou_K > iou
    assert passed.float().mean() == pytest.approx(pass_iou, abs=0.005)
    assert (passed & (stability_K >= stability)).float().mean() == pytest.approx(pass_iou * of_those, abs=0.005)


def test_tuned_weights_give_logits_and_scores_of_a_usual_size() -> None:
    sam, sample_HW3 = weights.random_sam(skeleton), picture(80, 120, 0)
    iou, stability = weights.tune(sam, sample_HW3)
    (view,) = cut_views(sample_HW3, whole_view(sample_HW3.shape[:2]), 128)
    logits_Khw, iou_K = weights._decode(sam, view)
    assert logits_Khw.std().item() == pytest.approx(weights.LOGIT_STD, rel=1e-3)
    assert iou_K.mean().item() == pytest.approx(weights.IOU_MEAN, abs=1e-3)
    assert (iou_K > iou).float().mean() == pytest.approx(weights.PASS_IOU, abs=0.02)
    assert 0 < stability < 1


def test_random_weights_have_positions_and_can_be_had_again() -> None:
    first, second = weights.random_sam(skeleton), weights.random_sam(skeleton)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
    assert all(
        one.any() for name, one in first.named_parameters() if name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w"))
    )


def test_demo_weights_that_are_not_there_are_replaced_by_random_ones(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(weights, "DEMO", replace(DEMO, source=str(tmp_path / "demo.safetensors")))
    monkeypatch.setitem(weights.BUILDERS, "demo", lambda: build_demo(64))
    _, said, generator = weights.load_model("demo", None, picture(40, 60, 1), points_per_side=5)
    assert said == "random weights"
    assert generator.points_per_side == 5


def test_the_demo_is_given_no_settings_that_other_systems_do_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.load, "load_model", lambda name: None)
    _, _, generator = weights.load_model("demo", None, picture(40, 60, 1), points_per_side=5)
    assert generator.model_fields_set == {"points_per_side", "pred_iou_thresh", "stability_score_thresh"}
