from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from support.blobs import BlobEngine
from support.pictures import picture
from support.small_sam import small_sam, torch_engine

from sam_batch.engine import preprocess as preprocess_module
from sam_batch.engine.preprocess import Normaliser, preprocess
from sam_batch.records import View


def test_preprocessing_is_the_models_own():
    sam = small_sam()
    spec = torch_engine().spec
    pixels = picture(100, 128)
    theirs = sam.preprocess(torch.tensor(pixels).permute(2, 0, 1)[None])
    assert torch.equal(preprocess(pixels, spec), theirs)


def test_read_only_pixels_are_taken_as_they_come():
    pixels = picture(128, 128)
    pixels.flags.writeable = False
    assert preprocess(pixels, replace(BlobEngine.spec)).shape == (1, 3, 128, 128)


def test_a_models_colours_are_copied_to_its_device_once(monkeypatch):
    """What is copied from memory that is not pinned is waited for."""
    normalise, views = Normaliser(BlobEngine.spec), [View((0, 0, 1, 1), picture(8, 8))]
    expected = normalise(views)
    monkeypatch.setattr(preprocess_module, "_on_device", lambda pixels, device: torch.from_numpy(pixels))
    monkeypatch.setattr(torch, "tensor", Mock(side_effect=AssertionError("another copy")))
    assert torch.equal(normalise(views), expected)


def test_views_of_any_shapes_make_one_batch():
    pixels = [picture(100, 128), picture(128, 60)]
    normalised = Normaliser(BlobEngine.spec)([View((0, 0, 1, 1), one) for one in pixels])
    assert torch.equal(normalised, torch.cat([preprocess(one, BlobEngine.spec) for one in pixels]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory and streams need a GPU")
def test_a_gpu_gets_the_same_numbers_by_way_of_pinned_memory():
    views = [View((0, 0, 1, 1), picture(128, 60, seed)) for seed in range(3)]
    on_gpu = Normaliser(replace(BlobEngine.spec, device="cuda:0"))(views)
    torch.testing.assert_close(on_gpu.cpu(), Normaliser(BlobEngine.spec)(views), rtol=1e-6, atol=1e-6)
