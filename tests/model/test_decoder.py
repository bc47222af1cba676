import torch
from support.small_sam import small_sam

from sam_batch.model.decoder import transform, upscale


def inputs(sam, count):
    torch.manual_seed(count)
    embedding = torch.randn(32, 8, 8)
    sparse, dense = sam.prompt_encoder((torch.rand(count, 1, 2) * 128, torch.ones(count, 1)), None, None)
    return embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense


@torch.inference_mode()
def test_the_halves_together_are_predict_masks_bit_for_bit():
    sam = small_sam()
    embedding, position, sparse, dense = inputs(sam, 9)
    masks, iou = sam.mask_decoder.predict_masks(embedding[None], position, sparse, dense)
    tokens = transform(sam.mask_decoder, embedding, position, sparse, dense)
    assert torch.equal(sam.mask_decoder.iou_prediction_head(tokens.iou), iou)
    assert torch.equal(upscale(sam.mask_decoder, tokens.masks, tokens.image), masks)


@torch.inference_mode()
def test_shapes_are_as_said():
    sam = small_sam()
    tokens = transform(sam.mask_decoder, *inputs(sam, 3))
    assert tokens.iou.shape == (3, 32)
    assert tokens.masks.shape == (3, 4, 32)
    assert tokens.image.shape == (3, 32, 8, 8)
    assert upscale(sam.mask_decoder, tokens.masks[1:], tokens.image[1:]).shape == (2, 4, 32, 32)
