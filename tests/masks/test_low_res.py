import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.masks import masks, run_lengths

from sam_batch.masks.geometry import view_shape
from sam_batch.masks.logits import Scale, upsample
from sam_batch.masks.low_res import LOGIT, is_mask, mask_logits

SIDE, LOW = 128, 32


def logits_of(mask):
    view_hw = view_shape(*mask.shape, SIDE)
    return mask_logits(run_lengths(mask), mask.shape, view_hw, SIDE, LOW), view_hw


@given(masks())
def test_run_lengths_are_those_of_one_size_alone(mask):
    height, width = mask.shape
    assert is_mask(run_lengths(mask), height, width)
    assert not is_mask(run_lengths(mask), height + 1, width)


@given(st.text(max_size=8) | st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmno", max_size=8))
def test_any_other_text_is_no_mask(text):
    assert not is_mask(text, 10**9, 10**9)


@pytest.mark.parametrize("size", [(64, 64), (60, 100), (700, 500)])
def test_the_whole_image_is_inside_and_the_padding_outside(size):
    logits_hw, (view_h, view_w) = logits_of(np.ones(size, dtype=bool))
    assert logits_hw.dtype == np.float32
    assert (logits_hw[: view_h // 4, : view_w // 4] == np.float32(LOGIT)).all()
    assert (logits_hw[-(-view_h // 4) :] == -np.float32(LOGIT)).all()
    assert (logits_hw[:, -(-view_w // 4) :] == -np.float32(LOGIT)).all()


@given(x=st.integers(0, 60), y=st.integers(0, 40), seed=st.integers(0, 99))
def test_up_scaled_again_it_is_nearly_the_mask(x, y, seed):
    mask = np.zeros((90, 120), dtype=bool)
    mask[y : y + 35 + seed % 10, x : x + 50] = True
    logits_hw, view_hw = logits_of(mask)
    again = upsample(torch.from_numpy(logits_hw)[None], Scale(SIDE, view_hw, mask.shape))[0].numpy() > 0
    assert (again & mask).sum() / (again | mask).sum() > 0.93
