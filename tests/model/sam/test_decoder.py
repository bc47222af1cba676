"""The decoder against the one it replaces: equal in real arithmetic, so hardly apart in float64."""

import copy

import pytest
import torch
from segment_anything.modeling import PromptEncoder, Sam
from support.small_sam import small_sam
from torch import Tensor

from sam_batch.model.load import load_model
from sam_batch.model.sam.decoder import FEWEST_PROMPTS, SCORE_NUMBERS, Decoder
from sam_batch.model.sam.demo import build_demo
from sam_batch.model.sam.lowering import lower
from sam_batch.model.sam.norms import Cells

KINDS = ["points", "three points", "boxes", "points and boxes", "points and masks"]
COUNTS = [1, 2, 7, 64]


def encoded(encoder: PromptEncoder, kind: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """A random embedding, and what the prompt encoder makes of random prompts."""
    generator = torch.Generator().manual_seed(count)
    side, n = encoder.input_image_size[0], 3 if "three" in kind else 1
    points = torch.rand(count, n, 2, generator=generator) * side
    labels = torch.randint(-1, 2, (count, n), generator=generator)
    boxes = torch.rand(count, 4, generator=generator) * side if "boxes" in kind else None
    masks = torch.randn(count, 1, side // 4, side // 4, generator=generator) if "masks" in kind else None
    embedding = torch.randn(encoder.embed_dim, side // 16, side // 16, generator=generator)
    return embedding, *encoder((points, labels) if "points" in kind else None, boxes, masks)


def in_float64(sam: Sam) -> Sam:
    """With the positions of float32, which is what segment-anything knows them in."""
    position = sam.prompt_encoder.get_dense_pe().double()
    double = copy.deepcopy(sam).double()
    double.prompt_encoder.get_dense_pe = lambda: position
    return double


def every_pair(count: int, masks: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(count), torch.arange(masks))


def outputs(decoder: Decoder, inputs: tuple[Tensor, Tensor, Tensor], kind: str = "points", multimask: bool = True):
    """IoU and logits of every mask."""
    embedding, sparse, dense = inputs
    scored = decoder.score(embedding, sparse, dense if "masks" in kind else None, multimask=multimask)
    return scored.iou, decoder.finish(scored, every_pair(*scored.iou.shape)).unflatten(0, scored.iou.shape)


def reference(sam: Sam, inputs: tuple[Tensor, Tensor, Tensor], multimask: bool = True):
    embedding, sparse, dense = inputs
    logits, iou = sam.mask_decoder(embedding[None], sam.prompt_encoder.get_dense_pe(), sparse, dense, multimask)
    return iou, logits


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_every_kind_of_prompt_gives_the_numbers_of_segment_anything(kind, count, multimask):
    sam = small_sam()
    double = in_float64(sam)
    inputs = tuple(one.double() for one in encoded(sam.prompt_encoder, kind, count))
    expected = reference(double, inputs, multimask)
    torch.testing.assert_close(outputs(Decoder(double), inputs, kind, multimask), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_float32_gives_them_too(kind, count, multimask):
    sam = small_sam(lively=False)
    inputs = encoded(sam.prompt_encoder, kind, count)
    expected = reference(sam, inputs, multimask)
    torch.testing.assert_close(outputs(Decoder(sam), inputs, kind, multimask), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@torch.inference_mode()
def test_a_layer_is_the_block_it_replaces_whether_the_image_is_shared_or_not(dtype, atol, count, index):
    sam = small_sam(lively=dtype == torch.float64)
    sam = in_float64(sam) if dtype == torch.float64 else sam
    layer, block = Decoder(sam).layers[index], sam.mask_decoder.transformer.layers[index]
    torch.manual_seed(0)
    tokens, image = torch.randn(count, 7, 32, dtype=dtype), torch.randn(1, 64, 32, dtype=dtype)
    queries = tokens if index == 0 else torch.randn_like(tokens)
    images, position = image.expand(count, -1, -1), sam.prompt_encoder.get_dense_pe().flatten(2).mT
    expected = block(queries, images, tokens, position.expand(count, -1, -1))
    for cells, shared in ((images, None), (image, layer.share(image[0]))):
        found, (exact, low) = layer(queries, tokens, Cells(cells, cells), shared)
        torch.testing.assert_close((found, exact), expected, rtol=0, atol=atol)
        assert torch.equal(low, exact)


@torch.inference_mode()
def test_another_number_of_heads_and_cells_does_too():
    """The demo model's: as vit_b's in all but numbers."""
    sam = build_demo(256).eval()
    inputs = encoded(sam.prompt_encoder, "points", 3)
    torch.testing.assert_close(outputs(Decoder(sam), inputs), reference(sam, inputs), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["points", "points and masks"])
@pytest.mark.parametrize("chunk", [1, 3, 64])
@torch.inference_mode()
def test_chunks_do_not_show(chunk, kind):
    sam = small_sam(lively=False)
    inputs = encoded(sam.prompt_encoder, kind, 10)
    decoder = Decoder(sam)
    whole = outputs(decoder, inputs, kind)
    decoder.score_chunk = decoder.finish_chunk = chunk
    decoder.upscaler.block = 5 * chunk
    torch.testing.assert_close(outputs(decoder, inputs, kind), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("half", "bound"), [(torch.bfloat16, 8.0e-4), (torch.float16, 8.0e-5)])
@torch.inference_mode()
def test_half_precision_rounds_cells_alone(half, bound):
    """Predicted IoUs of the demo model are 6.4e-4 and 6.9e-5 off (RMS); with tokens in half 9.0e-4 and 8.4e-5."""
    torch.manual_seed(0)
    sam = load_model("demo")
    inputs = encoded(sam.prompt_encoder, "points", 64)
    expected, _ = outputs(Decoder(sam), inputs)
    lower(sam, half)
    found, logits = outputs(Decoder(sam), inputs)
    assert logits.dtype == torch.float32
    assert (found - expected).square().mean().sqrt() < bound


@pytest.mark.parametrize(("dtype", "prompts"), [(torch.float32, 1), (torch.bfloat16, FEWEST_PROMPTS)])
def test_half_precision_shares_the_work_on_tokens(dtype, prompts, monkeypatch):
    monkeypatch.setitem(SCORE_NUMBERS, "cpu", 1)
    sam = small_sam()
    lower(sam, dtype)
    assert Decoder(sam).score_chunk == prompts


@torch.inference_mode()
def test_chosen_masks_come_alone_repeated_and_in_any_order():
    sam = small_sam(lively=False)
    decoder = Decoder(sam)
    embedding, sparse, _ = encoded(sam.prompt_encoder, "points", 10)
    scored = decoder.score(embedding, sparse, None, multimask=True)
    every = decoder.finish(scored, every_pair(10, 3))
    index = torch.tensor([[9, 2], [0, 0], [4, 1], [4, 1], [9, 0], [4, 0]])
    found = decoder.finish(scored, index)
    torch.testing.assert_close(found, every[index[:, 0] * 3 + index[:, 1]], rtol=0, atol=1e-6)
    assert decoder.finish(scored, index[:0]).shape == (0, 32, 32)


@torch.inference_mode()
def test_weights_are_those_of_the_model():
    """Only the transposed convolutions are kept in another order."""
    sam = small_sam()
    theirs = {one.data_ptr() for one in sam.parameters()}
    own = {name for name, one in Decoder(sam).named_parameters() if one.data_ptr() not in theirs}
    assert own == {f"upscaler.{layer}.{part}" for layer in ("first", "second") for part in ("weight", "bias")}
