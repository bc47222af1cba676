import pytest
import torch

from training.model import box_tokens, decode, embed, grow, new_model, point_tokens


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return new_model(128).eval()


@pytest.mark.parametrize("with_mask", [False, True])
@torch.no_grad()
def test_one_call_for_all_images_answers_as_one_call_for_each_prompt(sam, with_mask):
    embedding = torch.randn(2, 128, 8, 8)
    tokens = point_tokens(sam, torch.rand(6, 1, 2) * 128, torch.ones(6, 1))
    masks = torch.randn(6, 1, 32, 32) if with_mask else None
    logits, iou = decode(sam, embedding, tokens, masks)
    for i in range(6):
        mask = None if masks is None else masks[i : i + 1]
        _, dense = sam.prompt_encoder(points=None, boxes=None, masks=mask)
        dense = dense.expand(1, -1, 8, 8)
        expected = sam.mask_decoder.predict_masks(
            embedding[i // 3 : i // 3 + 1], sam.prompt_encoder.get_dense_pe(), tokens[i : i + 1], dense
        )
        torch.testing.assert_close(logits[i], expected[0][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(iou[i], expected[1][0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_tokens_are_those_of_the_prompt_encoder(sam):
    points, boxes = torch.rand(3, 1, 2) * 128, torch.tensor([[1.0, 2, 30, 40]])
    expected, _ = sam.prompt_encoder(points=(points, torch.ones(3, 1)), boxes=None, masks=None)
    torch.testing.assert_close(point_tokens(sam, points, torch.ones(3, 1)), expected)
    expected, _ = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
    torch.testing.assert_close(box_tokens(sam, boxes), expected)


@torch.no_grad()
def test_a_grown_model_takes_larger_pictures_and_keeps_all_else(sam):
    larger = new_model(256)
    larger.load_state_dict(grow(sam.state_dict(), 256))
    assert embed(larger, torch.zeros(1, 3, 256, 256)).shape == (1, 128, 16, 16)
    assert torch.equal(larger.mask_decoder.iou_token.weight, sam.mask_decoder.iou_token.weight)


def test_growing_to_the_same_side_changes_nothing(sam):
    state = sam.state_dict()
    assert all(value is state[name] for name, value in grow(state, 128).items())
