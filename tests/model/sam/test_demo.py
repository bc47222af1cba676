"""The architecture of the demo model, with random weights."""

import pytest
import torch
from segment_anything.modeling import Sam

from sam_batch.model.sam.demo import PATCH, SIDE, WIDTH, build_demo


@pytest.mark.parametrize("side", [64, 128])
def test_it_is_a_sam_with_masks_of_a_quarter_of_its_side(side):
    sam = build_demo(side).eval()
    assert isinstance(sam, Sam)
    with torch.no_grad():
        (found,) = sam(
            [
                {
                    "image": torch.zeros(3, side, side),
                    "original_size": (side, side),
                    "point_coords": torch.full((1, 1, 2), side / 2),
                    "point_labels": torch.ones(1, 1),
                }
            ],
            multimask_output=True,
        )
    assert found["low_res_logits"].shape == (1, 3, side // 4, side // 4)
    assert sam.prompt_encoder.image_embedding_size == (side // PATCH, side // PATCH)


def test_it_is_small_enough_for_the_package():
    sam = build_demo()
    assert sam.image_encoder.img_size == SIDE
    assert sam.image_encoder.neck[0].out_channels == WIDTH
    assert sum(parameter.numel() for parameter in sam.parameters()) * 2 < 16 << 20  # bytes, as float16
