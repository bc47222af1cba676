"""One pass over the memory against torch's steps one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from sam_batch.model.sam import norms
from sam_batch.model.sam.norms import add_and_norm, norm_rows


def layer(channels: int, dtype: torch.dtype = torch.float32) -> nn.LayerNorm:
    norm = nn.LayerNorm(channels, dtype=dtype)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def step_by_step(cells: Tensor | float, found: Tensor, norm: nn.LayerNorm) -> Tensor:
    return norm(found.to(norm.weight.dtype) + cells)


@pytest.fixture(params=["one pass", "torch"])
def kernel(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(norms, "_has_kernel", lambda *_: False)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_what_was_found_is_added_and_normed(dtype, images):
    torch.manual_seed(0)
    norm, cells, found = layer(96), torch.randn(images, 50, 96), torch.randn(3, 50, 96).to(dtype)
    expected = step_by_step(cells, found, norm)
    exact, low = add_and_norm(cells, found.clone(), norm)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-5)
    assert torch.equal(low, exact.to(dtype))
    torch.testing.assert_close(norm_rows(found.clone(), norm, cells), low, rtol=0, atol=0)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_rows_are_normed_alone_whatever_their_strides(dtype):
    torch.manual_seed(0)
    norm, images_NChw = LayerNorm2d(32), torch.randn(2, 32, 5, 4).to(dtype)
    expected = norm(images_NChw.float()).to(dtype).permute(0, 2, 3, 1)
    found = norm_rows(images_NChw.permute(0, 2, 3, 1), norm)
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-5)


@torch.inference_mode()
def test_float64_stays_float64():
    norm, cells, found = (one.double() for one in (layer(8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)))
    expected = step_by_step(cells, found, norm)
    torch.testing.assert_close(add_and_norm(cells, found, norm).exact, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_on_a_cpu_torch_is_not_asked(dtype, monkeypatch):
    monkeypatch.setattr(norms, "layer_norm", None)
    add_and_norm(torch.randn(1, 5, 8), torch.randn(2, 5, 8).to(dtype), layer(8))
    norm_rows(torch.randn(5, 8).to(dtype), layer(8))


@given(st.integers(0, 2**32 - 1))
def test_bfloat16_is_rounded_as_torch_rounds(bits):
    value = np.uint32(bits).view(np.float32)
    expected = torch.tensor(value).bfloat16()
    found = torch.tensor([norms._to_bfloat16(value)], dtype=torch.uint16).view(torch.bfloat16)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_what_is_not_a_number_stays_so(dtype):
    found = torch.zeros(1, 2, 16, dtype=dtype)
    found[0, 1, 3] = math.nan
    exact, low = add_and_norm(torch.ones(1, 2, 16), found, nn.LayerNorm(16))
    assert exact[0, 1].isnan().all()
    assert low[0, 1].isnan().all()
    assert exact[0, 0].isfinite().all()


def test_gradients_pass():
    """The kernels have none, so torch's steps do it."""
    cells = torch.randn(1, 4, 8, requires_grad=True)
    add_and_norm(cells, torch.randn(1, 4, 8), layer(8)).exact.square().sum().backward()
    assert cells.grad.abs().sum() > 0
