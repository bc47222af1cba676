import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_sam import small_sam

from sam_batch.engine.protocol import Prompts
from sam_batch.model.sam.prompt_tokens import prompt_tokens

SIDE = 128
ENCODER = small_sam().prompt_encoder


@st.composite
def prompts(draw):
    """Points with labels and boxes, in every combination that makes tokens."""
    count, n = draw(st.integers(0, 9)), draw(st.integers(1, 4))
    kinds = draw(st.sampled_from(["points", "boxes", "points+boxes"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    points = torch.rand((count, n, 2), generator=generator, dtype=draw(st.sampled_from([torch.float32, torch.float64])))
    labels = torch.randint(-1, 3, (count, n), generator=generator, dtype=torch.int32)  # 2 is none of SAM's
    boxes = torch.rand((count, 4), generator=generator) * SIDE
    with_points, with_boxes = "points" in kinds, "boxes" in kinds
    return points * SIDE if with_points else None, labels if with_points else None, boxes if with_boxes else None


@torch.no_grad()
@given(prompts())
def test_tokens_are_those_of_the_prompt_encoder_to_the_bit(given):
    points, labels, boxes = given
    expected, _ = ENCODER(None if points is None else (points, labels), boxes, None)
    tokens = prompt_tokens(ENCODER, Prompts(points, labels, boxes))
    assert tokens.dtype == torch.float32
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize(("points", "labels"), [(torch.zeros(1, 1, 2), None), (None, torch.ones(1, 1))])
def test_points_need_labels_also_beside_a_box(points, labels):
    with pytest.raises(ValueError, match="points and labels come together"):
        prompt_tokens(ENCODER, Prompts(points, labels, torch.zeros(1, 4)))


@torch.no_grad()
def test_a_mask_alone_makes_no_token():
    masks = torch.zeros(3, 1, SIDE // 4, SIDE // 4)
    expected, _ = ENCODER(None, None, masks)
    assert prompt_tokens(ENCODER, Prompts(masks=masks)).shape == expected.shape == (3, 0, 32)
