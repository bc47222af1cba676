import pytest
import torch
from support.small_sam import small_sam

from sam_batch.model.precision import autocast, lower

CPU = torch.device("cpu")


def dtypes(module):
    return {parameter.dtype for parameter in module.parameters()}


def test_float32_changes_nothing():
    sam = small_sam()
    lower(sam, torch.float32)
    assert dtypes(sam) == {torch.float32}
    assert not any(module._forward_pre_hooks for module in sam.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_matrices_are_half_and_all_else_stays(dtype):
    sam = small_sam()
    lower(sam, dtype)
    block = sam.image_encoder.blocks[0]
    assert dtypes(block.attn.qkv) == dtypes(block.mlp) == dtypes(sam.mask_decoder.output_hypernetworks_mlps) == {dtype}
    for kept in (block.norm1, sam.image_encoder.neck[1], sam.prompt_encoder, sam.mask_decoder.iou_prediction_head):
        assert dtypes(kept) == {torch.float32}
    assert sam.image_encoder.pos_embed.dtype == block.attn.rel_pos_h.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_residual_stream_stays_float32(dtype):
    sam = small_sam()
    lower(sam, dtype)
    seen = []
    sam.image_encoder.neck[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    with torch.inference_mode(), autocast(CPU, dtype):
        sam.image_encoder(torch.randn(1, 3, 128, 128))
    assert seen == [torch.float32]


def test_autocast_of_float32_is_off():
    with autocast(CPU, torch.float32):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(CPU, torch.bfloat16):
        assert torch.is_autocast_enabled("cpu")
