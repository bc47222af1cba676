import pytest
import torch
from support.graphs import scaled_error
from support.small_sam import small_sam
from torch import nn

from sam_batch.model.sam.encoder_graph import EncoderGraph

SIDE = 128
POSITIONS = ["written", "tiled", "folded"]


def images(count):
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("operator", [False, True])
@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_it_is_segment_anythings_encoder(positions, operator, count):
    sam = small_sam()
    found = EncoderGraph(sam, torch.float32, operator=operator, positions=positions)(images(count))
    assert scaled_error(found, sam.image_encoder(images(count))) < 2e-5


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_half_precision_is_near(positions):
    sam = small_sam()
    found = EncoderGraph(sam, torch.float16, positions=positions)(images(2))
    assert found.dtype == torch.float16
    assert 1e-5 < scaled_error(found, sam.image_encoder(images(2))) < 1e-2


@torch.no_grad()
def test_half_precision_survives_numbers_beyond_it():
    """Single channels of the residual stream of real checkpoints are large."""
    sam = small_sam()
    sam.image_encoder.pos_embed[..., 7] += 70_000.0
    assert scaled_error(EncoderGraph(sam, torch.float16)(images(1)), sam.image_encoder(images(1))) < 2e-2


def test_norms_and_the_first_convolution_of_the_neck_are_never_lowered():
    graph = EncoderGraph(small_sam(), torch.float16)
    assert graph.narrow.weight.dtype == graph.position.dtype == torch.float32
    norms = [module for module in graph.modules() if isinstance(module, nn.LayerNorm)]
    assert norms
    assert {norm.weight.dtype for norm in norms} == {torch.float32}


def test_the_model_is_left_as_it_was():
    sam, untouched = small_sam(), small_sam()
    EncoderGraph(sam, torch.float16)
    for name, weight in sam.state_dict().items():
        assert torch.equal(weight, untouched.state_dict()[name])
