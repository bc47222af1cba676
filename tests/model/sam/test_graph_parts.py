import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import nn

from sam_batch.model.sam.graph_parts import (
    ImageToTokenGraph,
    SharedTokenToImageGraph,
    TokenAttention,
    TokenToImageGraph,
    attend,
    lowered,
    norm2d,
    rebiased,
    with_bias_before,
)

PROMPTS, TOKENS, CELLS, CHANNELS = 3, 7, 20, 32


@pytest.fixture(autouse=True)
def repeatable():
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        yield


def attention(heads=4):
    module = Attention(CHANNELS, num_heads=heads, downsample_rate=2)
    for linear in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
        nn.init.normal_(linear.bias)
    return module


def test_float32_weights_are_shared_and_others_copied():
    layer = nn.Linear(4, 4)
    assert lowered(layer, torch.float32) is layer
    half = lowered(layer, torch.float16)
    assert (half.weight.dtype, layer.weight.dtype) == (torch.float16, torch.float32)


def test_another_bias_leaves_the_layer_as_it_was():
    layer, bias, values = nn.Linear(4, 3), torch.randn(3), torch.randn(5, 4)
    before = layer(values)
    torch.testing.assert_close(rebiased(layer, bias)(values), values @ layer.weight.T + bias)
    torch.testing.assert_close(layer(values), before)


def test_a_bias_before_a_layer_is_part_of_its_bias():
    layer, bias, values = nn.Linear(4, 3), torch.randn(4), torch.randn(5, 4)
    torch.testing.assert_close(with_bias_before(layer, bias)(values), layer(values + bias))


def test_norm2d_is_segment_anythings():
    norm, values = LayerNorm2d(6), torch.randn(2, 6, 3, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    torch.testing.assert_close(norm2d(norm, values), norm(values))


def test_attend_is_torchs_attention_of_scaled_queries():
    query, key, value, bias = (torch.randn(2, 4, 5, 5) for _ in range(4))
    for places in (None, bias):
        wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=places, scale=1.0)
        torch.testing.assert_close(attend(query, key, value, places), wanted)


def test_tokens_attend_to_each_other():
    reference, placed, values = (
        attention(),
        torch.randn(PROMPTS, TOKENS, CHANNELS),
        torch.randn(PROMPTS, TOKENS, CHANNELS),
    )
    found = TokenAttention(reference, TOKENS)(placed, values)
    torch.testing.assert_close(found, reference(placed, placed, values))


def test_tokens_read_the_image_of_their_prompt():
    reference, asking = attention(), torch.randn(PROMPTS, TOKENS, CHANNELS)
    image, placed = torch.randn(2, PROMPTS, CELLS, CHANNELS)
    found = TokenToImageGraph(reference, TOKENS)(asking, image, placed)
    torch.testing.assert_close(found, reference(asking, placed, image))


def test_tokens_read_the_image_that_all_prompts_share():
    reference, asking = attention(), torch.randn(PROMPTS, TOKENS, CHANNELS)
    image, placed = torch.randn(2, 1, CELLS, CHANNELS)
    found = SharedTokenToImageGraph(reference, TOKENS, torch.float32)(asking, image, placed)
    torch.testing.assert_close(found, reference(asking, placed.expand(3, -1, -1), image.expand(3, -1, -1)))


@pytest.mark.parametrize("images", [1, PROMPTS])
def test_images_are_written_to_by_tokens(images):
    reference, placed = attention(), torch.randn(images, CELLS, CHANNELS)
    asked, values = torch.randn(2, PROMPTS, TOKENS, CHANNELS)
    found = ImageToTokenGraph(reference, TOKENS)(asked, values, placed)
    torch.testing.assert_close(found, reference(placed.expand(PROMPTS, -1, -1), asked, values))


def own_reading(reference):
    return TokenToImageGraph(reference, TOKENS)


def shared_reading(reference):
    return SharedTokenToImageGraph(reference, TOKENS, torch.float16)


@pytest.mark.parametrize("kind", [own_reading, shared_reading])
def test_half_precision_leaves_float32_behind(kind):
    reference, asking = attention(), torch.randn(PROMPTS, TOKENS, CHANNELS)
    image, placed = torch.randn(2, 1, CELLS, CHANNELS).half()
    found = kind(reference)(asking, image, placed)
    assert found.dtype == torch.float32
    wanted = reference(asking, *(cells.float().expand(PROMPTS, -1, -1) for cells in (placed, image)))
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)


def test_what_a_token_reads_of_a_half_precision_cell_is_not_rounded():
    reference, asking = attention(), torch.randn(PROMPTS, TOKENS, CHANNELS)
    image = torch.randn(PROMPTS, 1, CHANNELS).half()  # all attention goes to a single cell
    found = TokenToImageGraph(reference, TOKENS)(asking, image, image)
    torch.testing.assert_close(found, reference(asking, image.float(), image.float()))


def test_what_a_token_writes_to_half_precision_cells_is_rounded_once():
    reference, image = attention(heads=1), torch.randn(PROMPTS, CELLS, CHANNELS).half()
    asked, values = torch.randn(2, PROMPTS, 1, CHANNELS)  # all attention goes to a single token
    found = ImageToTokenGraph(reference, 1)(asked, values, image)
    wanted = reference(image.float(), asked, values)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), wanted, rtol=2**-10, atol=1e-6)
