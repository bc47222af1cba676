import pytest
import torch
from support.small_sam import small_sam

from sam_batch.model.sam.encoder import Encoder
from sam_batch.model.sam.lowering import lower


def dtypes(module):
    return {parameter.dtype for parameter in module.parameters()}


def test_float32_changes_nothing():
    sam = small_sam()
    lower(sam, torch.float32)
    assert dtypes(sam) == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_matrices_of_cells_are_half_and_all_else_stays(dtype):
    sam = small_sam()
    lower(sam, dtype)
    block = sam.image_encoder.blocks[0]
    decoder = sam.mask_decoder
    assert dtypes(block.attn.qkv) == dtypes(block.mlp) == dtypes(decoder.output_upscaling[0]) == {dtype}
    tokens = decoder.transformer, decoder.output_hypernetworks_mlps, decoder.iou_prediction_head
    for kept in (block.norm1, sam.image_encoder.neck[1], sam.prompt_encoder, *tokens):
        assert dtypes(kept) == {torch.float32}
    assert sam.image_encoder.pos_embed.dtype == block.attn.rel_pos_h.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_residual_stream_stays_float32(dtype):
    sam = small_sam()
    lower(sam, dtype)
    encoder = Encoder(sam.image_encoder, "blocks")
    seen = []
    encoder.neck.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    with torch.inference_mode():
        encoder(torch.randn(1, 3, 128, 128))
    assert seen == [torch.float32]
