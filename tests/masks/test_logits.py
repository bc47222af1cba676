from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.modeling import Sam
from segment_anything.utils import amg

from sam_batch.masks import logits
from sam_batch.masks.geometry import view_shape
from sam_batch.masks.logits import Scale, stability, stable_masks, upsample

sides = st.one_of(st.integers(1, 3), st.integers(4, 90), st.integers(91, 300))


def random_logits(count, side, seed=0):
    return torch.randn((count, side, side), generator=torch.Generator().manual_seed(seed)) * 5


@given(sides, sides, st.sampled_from([64, 128, 256]), st.integers(0, 99))
def test_a_prompts_three_masks_are_upsampled_to_the_references_bits(height, width, side, seed):
    low_3hw, view = random_logits(3, side // 4, seed), view_shape(height, width, side)
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=side))
    theirs = Sam.postprocess_masks(sam, low_3hw[None], view, (height, width))[0]
    assert torch.equal(upsample(low_3hw, Scale(side, view, (height, width))), theirs)


@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 1.0), (0.5, 0.25), (-3.0, 6.0)])
def test_stability_is_the_references(threshold, offset):
    full_KHW = random_logits(21, 40)
    assert torch.equal(
        stability(full_KHW, threshold, offset), amg.calculate_stability_score(full_KHW, threshold, offset)
    )


def test_a_mask_without_a_pixel_has_no_stability():
    assert stability(torch.full((1, 4, 4), -9.0), 0.0, 1.0).tolist() == [0.0]


@pytest.mark.parametrize("at_once", [1, 5, 99])
def test_masks_that_reach_the_stability_are_kept_in_order_however_few_are_pixels_at_a_time(at_once, monkeypatch):
    monkeypatch.setattr(logits, "PIXELS_AT_ONCE", at_once * 64**2)
    low_Khw, scale = random_logits(12, 16).abs() - 0.9, Scale(64, (64, 64), (50, 50))
    full_KHW = torch.cat([upsample(some_Khw, scale) for some_Khw in low_Khw.split(at_once)])
    expected = stability(full_KHW, 0.0, 0.5)
    middle = expected.median().item()  # one of the values itself: at the threshold is enough
    found = list(stable_masks(low_Khw, scale, 0.0, 0.5, middle))
    assert [mask.index for mask in found] == (expected >= middle).nonzero().flatten().tolist()
    for mask in found:
        assert mask.stability == expected[mask.index]
        assert np.array_equal(mask.patch.unpack(50, 50), (full_KHW[mask.index] > 0).numpy())


def test_without_a_minimum_every_mask_is_kept_even_an_empty_one():
    found = stable_masks(torch.full((2, 16, 16), -9.0), Scale(64, (64, 64), (8, 8)), 0.0, 1.0, 0.0)
    assert [mask.patch.unpack(8, 8).any() for mask in found] == [False, False]


def test_of_no_masks_none_is_kept():
    assert list(stable_masks(torch.zeros(0, 16, 16), Scale(64, (64, 50), (30, 20)), 0.0, 1.0, 0.0)) == []
