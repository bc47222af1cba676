"""Each attention against segment-anything's `Attention` with the same weights."""

from types import SimpleNamespace

import pytest
import torch
from segment_anything.modeling.transformer import Attention

from sam_batch.model.sam import attention
from sam_batch.model.sam.attention import ImageToToken, TokenToImage, linear, product

P, T, N, C = 3, 7, 20, 32
ATOL = {torch.float64: 1e-9, torch.float32: 1e-4}


@pytest.fixture(params=ATOL, ids=str)
def dtype(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture
def stock(dtype):
    attention = Attention(C, num_heads=4, downsample_rate=2)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention.to(dtype).requires_grad_(False)


@pytest.fixture
def position(dtype):
    return torch.randn(N, C, dtype=dtype)


@pytest.fixture
def tokens(dtype):
    return torch.randn(2, P, T, C, dtype=dtype)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=ATOL[expected.dtype])


@pytest.mark.parametrize("count", [1, P])
@torch.inference_mode()
def test_tokens_read_their_own_image(stock, position, tokens, count):
    image, asking = torch.randn(count, N, C, dtype=position.dtype), tokens[0, :count]
    close(TokenToImage(stock, position, position.dtype)(asking, image), stock(asking, image + position, image))


@torch.inference_mode()
def test_tokens_read_the_image_of_all(stock, position, tokens):
    image = torch.randn(N, C, dtype=position.dtype)
    read = TokenToImage(stock, position, position.dtype)
    expected = stock(tokens[0], (image + position).expand(P, -1, -1), image.expand(P, -1, -1))
    close(read.shared(tokens[0], read.project(image)), expected)
    close(read(tokens[0], image.expand(P, -1, -1)), expected)


@pytest.mark.parametrize("count", [1, P])
@torch.inference_mode()
def test_an_image_of_its_own_reads_the_tokens(stock, position, tokens, count):
    image, asked = torch.randn(count, N, C, dtype=position.dtype), tokens[:, :count]
    close(ImageToToken(stock, position, position.dtype)(*asked, image), stock(image + position, *asked))


@torch.inference_mode()
def test_the_image_of_all_reads_the_tokens(stock, position, tokens):
    image = torch.randn(N, C, dtype=position.dtype)
    write = ImageToToken(stock, position, position.dtype)
    expected = stock((image + position).expand(P, -1, -1), *tokens)
    close(write.shared(*tokens, write.project(image)), expected)
    close(write(*tokens, image.expand(P, -1, -1)), expected)


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_product_of_any_batch(batch):
    left, right = torch.randn(batch, 2, 3), torch.randn(batch, 4, 3).mT
    torch.testing.assert_close(product(left, right), left @ right)


@pytest.mark.parametrize("low", [torch.float32, torch.float64, torch.bfloat16])
@torch.inference_mode()
def test_a_linear_layer_of_any_precision(low):
    layer, rows = torch.nn.Linear(6, 5, dtype=low), torch.randn(2, 3, 6)
    torch.testing.assert_close(linear(layer, rows), layer(rows.to(low)))


def without(missing, patch):
    backends = attention.torch.backends
    if missing == "operator":
        patch.setattr(attention.torch.ops, "mkldnn", SimpleNamespace())
    elif missing == "library":
        patch.setattr(backends.mkldnn, "is_available", lambda: False)
    else:
        patch.setattr(backends.cpu, "get_cpu_capability", lambda: "AVX2")


@pytest.mark.parametrize("missing", ["operator", "library", "AVX-512"])
@torch.inference_mode()
def test_without_one_dnn_the_numbers_are_the_same(missing, monkeypatch):
    layer, left, right = torch.nn.Linear(6, 5), torch.randn(1, 4, 6), torch.randn(1, 3, 6).mT
    monkeypatch.setattr(attention.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    expected = linear(layer, left), product(left, right)
    without(missing, monkeypatch)
    monkeypatch.delattr(attention, "_one_dnn")
    torch.testing.assert_close((linear(layer, left), product(left, right)), expected)


def test_gradients_flow():
    layer, left, right = torch.nn.Linear(6, 5), torch.randn(1, 4, 6, requires_grad=True), torch.randn(1, 6, 3)
    (linear(layer, left).sum() + product(left, right).sum()).backward()
    torch.testing.assert_close(left.grad, (layer.weight.sum(dim=0) + right.sum(dim=2)).expand(1, 4, 6))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_large_products_in_half_precision_are_those_of_a_batch(half, monkeypatch):
    left, right = torch.randn(P, 4, 6).to(half), torch.randn(P, 9, 6).to(half).mT
    monkeypatch.setattr(torch, "bmm", None)
    monkeypatch.setattr(attention, "LARGE", 9)
    torch.testing.assert_close(product(left, right), left @ right)
