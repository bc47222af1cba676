import pytest
import torch
from support.graphs import MAX_TOKENS, encode_prompts, fill, random_prompts, reference_decode, scaled_error
from support.small_sam import small_sam

from sam_batch.engine.protocol import Prompts
from sam_batch.model.sam.decoder_graphs import FinishGraph, PromptedGraph, ScoreGraph

KINDS = ("points", "boxes", "masks")


@torch.no_grad()
def decode(sam, embedding, prompts, dtype=torch.float32):
    sparse, _ = encode_prompts(sam, prompts)
    if prompts.masks is None:
        iou, tokens, cells = ScoreGraph(sam, dtype, tokens=sparse.shape[1])(embedding.to(dtype), sparse)
    else:
        graph = PromptedGraph(sam, dtype, tokens=MAX_TOKENS)
        iou, tokens, cells = graph(embedding.to(dtype), *fill(sparse, prompts.masks, MAX_TOKENS))
    assert (iou.dtype, tokens.dtype, cells.dtype) == (torch.float32, torch.float32, dtype)
    return iou, FinishGraph(sam, dtype)(tokens, cells)


def embedding(seed=0):
    return torch.randn(1, 32, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_the_halves_are_segment_anythings_decoder(kind, count):
    sam = small_sam(lively=False)
    prompts = random_prompts(sam, kind, count)
    found, wanted = decode(sam, embedding(), prompts), reference_decode(sam, embedding(), prompts)
    assert [scaled_error(*pair) < 2e-5 for pair in zip(found, wanted, strict=True)] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near(kind):
    sam = small_sam(lively=False)
    prompts = random_prompts(sam, kind, 7)
    iou, logits = decode(sam, embedding(), prompts, torch.float16)
    wanted_iou, wanted_logits = reference_decode(sam, embedding(), prompts)
    assert scaled_error(iou, wanted_iou) < 1e-2
    assert 1e-5 < scaled_error(logits, wanted_logits) < 1e-2
    assert (iou.dtype, logits.dtype) == (torch.float32, torch.float32)


def test_prompts_do_not_see_each_other():
    sam = small_sam(lively=False)
    prompts = random_prompts(sam, "points", 5)
    alone = Prompts(points=prompts.points[3:4], labels=prompts.labels[3:4])
    for of_all, of_one in zip(decode(sam, embedding(), prompts), decode(sam, embedding(), alone), strict=True):
        torch.testing.assert_close(of_all[3:4], of_one, atol=1e-5, rtol=1e-5)


def test_any_number_of_points_a_prompt_can_be_exported():
    sam = small_sam(lively=False)
    points = 128 * torch.rand(4, 5, 2, generator=torch.Generator().manual_seed(0))
    prompts = Prompts(points=points, labels=torch.tensor([1, 0, 1, 0, 1], dtype=torch.int32).expand(4, -1))
    found, wanted = decode(sam, embedding(), prompts), reference_decode(sam, embedding(), prompts)
    assert scaled_error(found[1], wanted[1]) < 2e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("tokens", [0, 1, 2, 7])
def test_what_fills_a_prompt_up_counts_for_nothing(tokens, dtype):
    """Whatever it is, and however much."""
    sam, generator = small_sam(lively=False), torch.Generator().manual_seed(tokens)
    sparse, masks = torch.randn(3, tokens, 32, generator=generator), torch.randn(3, 1, 32, 32, generator=generator)
    exact = PromptedGraph(sam, dtype, tokens=tokens)(embedding().to(dtype), *fill(sparse, masks, tokens))
    filled, filling, *others = fill(sparse, masks, tokens + 5)
    filled[:, tokens:] = 9.0
    found = PromptedGraph(sam, dtype, tokens=tokens + 5)(embedding().to(dtype), filled, filling, *others)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    assert all(scaled_error(*pair) < tolerance for pair in zip(found, exact, strict=True))


def test_a_prompt_without_a_mask_may_stand_among_others():
    sam = small_sam(lively=False)
    prompts = random_prompts(sam, "masks", 3)
    sparse, _ = encode_prompts(sam, prompts)
    tokens, filling, masks, maskless = fill(sparse, prompts.masks, 4)
    maskless[1] = 1.0
    iou, *_ = PromptedGraph(sam, torch.float32, tokens=4)(embedding(), tokens, filling, masks, maskless)
    wanted, _ = reference_decode(sam, embedding(), Prompts(boxes=prompts.boxes))
    with_masks, _ = reference_decode(sam, embedding(), prompts)
    assert scaled_error(iou, torch.stack([with_masks[0], wanted[1], with_masks[2]])) < 2e-5
