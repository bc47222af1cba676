"""Each attention against segment-anything's `Attention` with the same weights, in float64."""

import pytest
import torch
from segment_anything.modeling.transformer import Attention

from sam_batch.model.attention import Reading, Writing, linear, product

P, T, N, C = 3, 7, 20, 32


@pytest.fixture
def stock():
    torch.manual_seed(0)
    attention = Attention(C, num_heads=4, downsample_rate=2).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


@pytest.fixture
def position():
    return torch.randn(N, C, dtype=torch.float64)


@pytest.fixture
def tokens():
    return torch.randn(2, P, T, C, dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_tokens_read_their_own_image(stock, position, tokens):
    image = torch.randn(P, N, C, dtype=torch.float64)
    close(Reading(stock, position)(tokens[0], image), stock(tokens[0], image + position, image))


def test_tokens_read_the_image_of_all(stock, position, tokens):
    image = torch.randn(N, C, dtype=torch.float64)
    read = Reading(stock, position)
    expected = stock(tokens[0], (image + position).expand(P, -1, -1), image.expand(P, -1, -1))
    close(read.shared(tokens[0], read.project(image)), expected)


def test_an_image_of_its_own_reads_the_tokens(stock, position, tokens):
    image = torch.randn(P, N, C, dtype=torch.float64)
    close(Writing(stock, position)(*tokens, image), stock(image + position, *tokens))


def test_the_image_of_all_reads_the_tokens(stock, position, tokens):
    image = torch.randn(N, C, dtype=torch.float64)
    write = Writing(stock, position)
    close(write.shared(*tokens, write.project(image)), stock((image + position).expand(P, -1, -1), *tokens))


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_product_of_any_batch(batch):
    left, right = torch.randn(batch, 2, 3), torch.randn(batch, 4, 3).mT
    torch.testing.assert_close(product(left, right), left @ right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@torch.inference_mode()
def test_a_linear_layer_of_any_precision(dtype):
    layer, rows = torch.nn.Linear(6, 5, dtype=dtype), torch.randn(2, 3, 6)
    torch.testing.assert_close(linear(layer, rows), layer(rows.to(dtype)))
