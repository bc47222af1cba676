"""The up-scaler against `MaskDecoder.output_upscaling` with the same weights."""

import pytest
import torch
from segment_anything.modeling.common import LayerNorm2d
from support.small_sam import small_sam

from sam_batch.model.sam.lowering import lower
from sam_batch.model.sam.upscaler import Upscaler


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (3, 5), (1, 4)])
@torch.inference_mode()
def test_masks_are_those_of_the_convolutions(height, width, block, dtype, atol):
    torch.manual_seed(0)
    decoder = small_sam().mask_decoder.to(dtype)
    image, weights = torch.randn(2, 32, height, width, dtype=dtype), torch.randn(2, 3, 4, dtype=dtype)
    expected = torch.einsum("pmd,pdhw->pmhw", weights, decoder.output_upscaling(image))
    found = Upscaler(decoder, height, width, block)(image.flatten(2).mT, weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_the_norm_is_float32_in_half_precision(dtype):
    """A norm does not see the scale of its input; the square of 1000 is beyond float16."""
    sam = small_sam(lively=False)
    plain = Upscaler(sam.mask_decoder, 8, 8, 64)
    sam.mask_decoder.output_upscaling[0].weight.mul_(1000)
    sam.mask_decoder.output_upscaling[0].bias.mul_(1000)
    lower(sam, dtype)
    image, weights = torch.randn(2, 64, 32), torch.randn(2, 3, 4)
    assert isinstance(sam.mask_decoder.output_upscaling[1], LayerNorm2d)
    found = Upscaler(sam.mask_decoder, 8, 8, 64)(image.to(dtype), weights.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), plain(image, weights), rtol=0, atol=0.05)
