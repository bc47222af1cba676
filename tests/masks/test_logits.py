from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.modeling import Sam
from segment_anything.utils import amg
from support.threads import threads_of_torch

from sam_batch.masks import logits
from sam_batch.masks.geometry import view_shape
from sam_batch.masks.logits import Scale, stability, stable_masks, upsample

sides = st.one_of(st.integers(1, 3), st.integers(4, 90), st.integers(91, 300))


def random_logits(count, side, seed=0):
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(seed)) * 5


@given(sides, sides, st.sampled_from([64, 128, 256]), st.permutations(range(12)), st.integers(1, 12))
def test_any_choice_of_masks_is_upsampled_to_the_references_bits(height, width, side, order, count):
    low_P3hw, view = random_logits(4, side // 4), view_shape(height, width, side)
    sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=side))
    theirs = Sam.postprocess_masks(sam, low_P3hw, view, (height, width)).flatten(0, 1)
    chosen = order[:count]
    ours = upsample(low_P3hw.flatten(0, 1)[chosen], Scale(side, view, (height, width)))
    assert torch.equal(ours, theirs[chosen])


def test_upsampling_no_mask_gives_no_mask():
    assert upsample(torch.zeros(0, 16, 16), Scale(64, (64, 50), (30, 20))).shape == (0, 30, 20)


@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 1.0), (0.5, 0.25), (-3.0, 6.0)])
def test_stability_is_the_references(threshold, offset):
    full_KHW = random_logits(7, 40).flatten(0, 1)
    assert torch.equal(
        stability(full_KHW, threshold, offset), amg.calculate_stability_score(full_KHW, threshold, offset)
    )


def test_a_mask_without_a_pixel_has_no_stability():
    assert stability(torch.full((1, 4, 4), -9.0), 0.0, 1.0).tolist() == [0.0]


@pytest.fixture(params=["fused", "step by step"])
def path(request, monkeypatch):
    """Either way from logits to masks."""
    if request.param == "fused":
        request.getfixturevalue("fused_multiply_add")
    monkeypatch.setattr(logits, "rounds_as_fused", lambda threads: request.param == "fused")


@pytest.mark.usefixtures("path")
def test_masks_that_reach_the_stability_are_kept_in_order():
    low_Khw, scale = random_logits(4, 16).flatten(0, 1).abs() - 0.9, Scale(64, (64, 64), (50, 50))
    full_KHW = upsample(low_Khw, scale)
    expected = stability(full_KHW, 0.0, 0.5)
    middle = expected.median().item()  # one of the values itself: at the threshold is enough
    found = list(stable_masks(low_Khw, scale, threshold=0.0, offset=0.5, min_stability=middle))
    assert [one.index for one in found] == (expected >= middle).nonzero().flatten().tolist()
    for one in found:
        assert one.stability == expected[one.index]
        assert np.array_equal(one.patch.unpack(50, 50), (full_KHW[one.index] > 0).numpy())


@pytest.mark.usefixtures("fused_multiply_add")
@given(
    st.integers(0, 7), sides, sides, st.floats(-2, 2), st.floats(0.01, 3), st.sampled_from([0.0, 0.2, 0.5]),
    st.integers(1, 4), st.integers(0, 99),
)  # fmt: skip
def test_both_ways_give_the_same_masks(count, height, width, threshold, offset, min_stability, pixels, seed):
    """However few of them are pixels at a time, and on however many threads."""
    window = seed % 9 + 1  # from noise to something smooth
    low_Khw = torch.nn.functional.avg_pool2d(random_logits(3, 32, seed).flatten(0, 1), window, 1)[:count] * window
    scale = Scale(128, view_shape(height, width, 128), (height, width))
    levels = {"threshold": threshold, "offset": offset, "min_stability": min_stability}
    for threads in (1, 2):
        ways = []
        for fused in (False, True):
            with pytest.MonkeyPatch.context() as patch, threads_of_torch(threads):
                patch.setattr(logits, "rounds_as_fused", lambda threads, fused=fused: fused)
                patch.setattr(logits, "PIXELS_AT_ONCE", pixels << 15)
                found = stable_masks(low_Khw, scale, **levels)
                ways.append([(one.index, one.stability, one.patch.box, one.patch.bits) for one in found])
        assert ways[0] == ways[1]


def test_torch_with_another_rounding_is_left_to_itself(monkeypatch):
    monkeypatch.setattr(logits.bilinear, "interpolate", lambda image, step: image)
    assert not logits.rounds_as_fused.__wrapped__(1)


def test_torch_rounds_as_the_fused_kernel_does_where_it_has_fused_multiply_add():
    for threads in (1, 2):
        with threads_of_torch(threads):
            assert logits.rounds_as_fused.__wrapped__(threads) or torch.backends.cpu.get_cpu_capability() == "DEFAULT"


@pytest.mark.parametrize(("device", "triton", "works", "way"), [
    ("cuda", True, True, "fused_on_cuda"), ("cuda", True, False, "step_by_step"), ("cuda", None, None, "step_by_step"),
    ("mps", True, True, "step_by_step"),
])  # fmt: skip
def test_each_device_has_its_way(device, triton, works, way, monkeypatch):
    for name in ("fused_on_cuda", "step_by_step", "fused_on_cpu"):
        monkeypatch.setattr(logits, name, lambda *arguments, name=name: name)
    monkeypatch.setattr(logits, "find_spec", lambda name: triton)
    monkeypatch.setattr(logits, "works_on_cuda", lambda device: works)
    on_device = SimpleNamespace(device=SimpleNamespace(type=device))
    assert stable_masks(on_device, None, threshold=0.0, offset=1.0, min_stability=0.0) == way


@pytest.mark.usefixtures("path")
def test_without_a_minimum_every_mask_is_kept_even_an_empty_one():
    found = stable_masks(
        torch.full((2, 16, 16), -9.0), Scale(64, (64, 64), (8, 8)), threshold=0.0, offset=1.0, min_stability=0.0
    )
    assert [one.patch.unpack(8, 8).any() for one in found] == [False, False]
