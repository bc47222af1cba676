"""The encoder against segment-anything's own with the same weights; `small_sam` has relative positions and padded
windows."""

from unittest.mock import Mock

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from support.small_sam import small_sam
from torch import nn

from sam_batch.model.sam import encoder as encoder_module
from sam_batch.model.sam.encoder import Encoder
from sam_batch.model.sam.lowering import lower

WAYS = ["extended", "blocks"]
SIDE = 128


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def pictures(count, dtype=torch.float32, side=SIDE):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_its_numbers_are_segment_anythings(way, dtype, atol):
    stock = small_sam().image_encoder.to(dtype)
    images = pictures(2, dtype)
    torch.testing.assert_close(Encoder(stock, way)(images), stock(images), rtol=0, atol=atol)


def encoder_of(window, depth=2, channels=32, side=SIDE):
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        side, embed_dim=channels, depth=depth, num_heads=2, out_chans=8, use_rel_pos=True, window_size=window
    )
    for name, parameter in encoder.named_parameters():
        if "pos" in name or parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.5)
    return encoder.double()


@pytest.mark.parametrize("window", [0, 2, 3, 5, 8, 14])
def test_windows_of_any_size_with_and_without_padding(window):
    stock = encoder_of(window)
    images = pictures(1, torch.float64)
    torch.testing.assert_close(Encoder(stock, "blocks")(images), stock(images), rtol=0, atol=1e-9)


def test_images_go_through_a_cpu_in_chunks(monkeypatch):
    stock = small_sam().image_encoder
    images = pictures(5)
    whole = Encoder(stock, "blocks")(images)
    monkeypatch.setattr(encoder_module, "IMAGE_ROWS", 2 * 64)
    monkeypatch.setattr(encoder_module, "BLOCK_ROWS", 50)
    chunked = Encoder(stock, "blocks")
    seen = []
    chunked.neck.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    torch.testing.assert_close(chunked(images), whole, rtol=0, atol=1e-5)
    assert seen == [2, 2, 1]


def test_what_is_not_chunked_is_not_copied(monkeypatch):
    """On a GPU nothing is; a copy of the residual stream would be one in every block."""
    encoder = Encoder(small_sam().image_encoder, "extended")
    cat = Mock(wraps=torch.cat)
    monkeypatch.setattr(torch, "cat", cat)
    encoder(pictures(2))
    assert cat.call_count == 2 * len(encoder.blocks)  # queries and keys, which attention extends


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.bfloat16, 0.15), (torch.float16, 0.02)])
def test_half_precision_stays_near_float32(way, dtype, atol):
    expected = small_sam(lively=False).image_encoder(pictures(2))
    sam = small_sam(lively=False)
    lower(sam, dtype)
    found = Encoder(sam.image_encoder, way)(pictures(2))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_float16_survives_a_residual_stream_beyond_its_range():
    """Every block adds 60,000 to every channel; the norms take it out again."""
    large = small_sam(lively=False)
    for block in large.image_encoder.blocks:
        block.mlp.lin2.bias.add_(60_000)
    lower(large, torch.float16)
    expected = large.image_encoder.float()(pictures(1))
    lower(large, torch.float16)
    found = Encoder(large.image_encoder, "blocks")(pictures(1))
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_it_shares_the_matrices():
    stock = small_sam().image_encoder
    held = {parameter.untyped_storage().data_ptr() for parameter in stock.parameters()}
    matrices = [parameter for parameter in Encoder(stock, "blocks").parameters() if parameter.ndim > 1]
    assert len(matrices) == 2 * 6 + 4  # two blocks; patches, positions and the neck's two
    assert all(matrix.untyped_storage().data_ptr() in held for matrix in matrices)
