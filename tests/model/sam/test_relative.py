"""Each way of attending against segment-anything's `Attention`, whose projections leave what they are given."""

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention

from sam_batch.model.sam import relative
from sam_batch.model.sam.relative import Projected, RelativeAttention

HEADS, D = 2, 8


@pytest.fixture(params=[(4, 4), (3, 5)])
def stock(request):
    torch.manual_seed(0)
    attention = Attention(HEADS * D, HEADS, use_rel_pos=True, input_size=request.param).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    attention.proj.weight.data.copy_(torch.eye(HEADS * D))
    attention.proj.bias.data.zero_()
    attention.grid = request.param
    return attention


def given(stock, count, dtype=torch.float64):
    """Images for the stock attention, and what it projects them to."""
    images = torch.randn(count, *stock.grid, HEADS * D, dtype=torch.float64)
    parts = stock.qkv(images).unflatten(-1, (3, HEADS, D)).permute(3, 0, 4, 1, 2, 5)
    return images, Projected(*parts.to(dtype))


def ours(stock, way, dtype=torch.float64):
    return RelativeAttention(stock.rel_pos_h, stock.rel_pos_w, stock.grid, way, dtype)


@torch.inference_mode()
@pytest.mark.parametrize("way", ["extended", "blocks"])
@pytest.mark.parametrize("lanes", [1, 32])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_finds_what_segment_anything_finds(stock, way, lanes, dtype, atol, monkeypatch):
    monkeypatch.setattr(relative, "LANES", lanes)
    images, projected = given(stock, 3, dtype)
    found = ours(stock, way, dtype)(projected).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found.double(), stock(images).flatten(1, 2), rtol=0, atol=atol)


@torch.inference_mode()
@pytest.mark.parametrize("block", [1, 40, 600, 1 << 20])
@pytest.mark.parametrize("lanes", [1, 32])
def test_blocks_of_any_size(stock, block, lanes, monkeypatch):
    monkeypatch.setattr(relative, "LANES", lanes)
    monkeypatch.setattr(relative, "BLOCK", block)
    images, projected = given(stock, 2)
    found = ours(stock, "blocks")(projected).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found, stock(images).flatten(1, 2), rtol=0, atol=1e-9)


@torch.inference_mode()
def test_blocks_never_hold_more_logits_than_one(monkeypatch):
    """By what softmax is given."""
    torch.manual_seed(0)
    monkeypatch.setattr(relative, "BLOCK", 1000)
    stock = Attention(HEADS * D, HEADS, use_rel_pos=True, input_size=(6, 6))
    stock.grid = (6, 6)
    seen = []
    softmax = torch.Tensor.softmax
    monkeypatch.setattr(
        torch.Tensor, "softmax", lambda logits, dim: seen.append(logits.numel()) or softmax(logits, dim)
    )
    attend = ours(stock, "blocks", torch.float32)
    attend(Projected(*torch.randn(3, 1, HEADS, 6, 6, D)))
    assert sum(seen) == HEADS * 36**2
    assert max(seen) <= 1000


def test_extended_heads_are_as_wide_as_kernels_like(stock):
    attend = ours(stock, "extended")
    wide = D + attend.rows_yDgh.shape[-1] + attend.columns_xDgw.shape[-1]
    assert wide % 16 == 0
    assert attend.onehot_LE.shape == (stock.grid[0] * stock.grid[1], wide - D)
