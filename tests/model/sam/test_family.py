import hashlib
from pathlib import Path

import pytest
import torch
from support.small_sam import small_sam

from sam_batch.model.sam.family import SAM
from sam_batch.model.sam.models import DEMO, PIXEL_MEAN, PIXEL_STD


@pytest.mark.parametrize("model", SAM.models, ids=lambda model: model.name)
def test_what_is_declared_of_a_model_is_what_its_modules_are(model):
    """Of the modules themselves; the weights are too large for a test."""
    with torch.device("meta"):
        sam = SAM.build(model.name)
    assert SAM.signature(sam.state_dict()) == model.signature
    assert sam.image_encoder.img_size == model.image_side


@pytest.mark.parametrize("model", SAM.models, ids=lambda model: model.name)
def test_published_files_carry_the_beginning_of_a_hash_in_their_name(model):
    assert len(bytes.fromhex(model.sha256)) == 32
    assert Path(model.source).name in {
        "demo.safetensors", "sam_vit_b_01ec64.pth", "sam_vit_l_0b3195.pth", "sam_vit_h_4b8939.pth",
    }  # fmt: skip


def test_the_demos_hash_is_that_of_the_file():
    """After new weights: put the hash that this test reports into `model/sam/models.py`."""
    assert hashlib.sha256(Path(DEMO.source).read_bytes()).hexdigest() == DEMO.sha256


def test_colours_are_those_of_segment_anything():
    traits = SAM.traits(small_sam())
    assert traits.pixel_mean == pytest.approx(PIXEL_MEAN)
    assert traits.pixel_std == pytest.approx(PIXEL_STD)
    assert (traits.image_side, traits.mask_side, traits.mask_threshold) == (128, 32, 0.0)


def test_tensors_of_others_are_not_its():
    assert SAM.translate({"conv.weight": torch.ones(1)}) is None
