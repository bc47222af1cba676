from dataclasses import replace

import pytest
import torch
from support.small_sam import small_sam

from sam_batch.engine.protocol import Prompts
from sam_batch.model.sam.torch_model import SamModel


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@torch.inference_mode()
def test_there_is_one_feature_map_in_the_models_precision(precision, dtype):
    model = SamModel(small_sam(), precision, "cpu")
    (features,) = model.embed(torch.zeros(2, 3, 128, 128))
    assert (features.shape, features.dtype) == ((2, 32, 8, 8), dtype)


@torch.inference_mode()
def test_masks_of_an_earlier_round_change_the_score():
    model = SamModel(small_sam(), "fp32", "cpu")
    features = model.embed(torch.zeros(1, 3, 128, 128))
    prompts = Prompts(points=torch.ones(3, 1, 2), labels=torch.ones(3, 1))
    plain, _ = model.score(features, prompts)
    refined, _ = model.score(features, replace(prompts, masks=torch.ones(3, 1, 32, 32)))
    assert plain.shape == (3, 3)
    assert not torch.equal(plain, refined)
