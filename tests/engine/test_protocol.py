from dataclasses import replace

import pytest
import torch
from support.blobs import BlobEngine

from sam_batch.engine.protocol import Prompts

POINTS = {"points": torch.zeros(4, 3, 2), "labels": torch.zeros(4, 3, dtype=torch.int32)}
BOXES, MASKS = {"boxes": torch.zeros(4, 4)}, {"masks": torch.zeros(4, 1, 32, 32)}


@pytest.mark.parametrize("parts", [POINTS, BOXES, MASKS, POINTS | BOXES | MASKS, {"count": 4}])
def test_any_part_says_how_many_prompts_there_are(parts):
    assert len(Prompts(**parts)) == 4


@pytest.mark.parametrize(
    ("parts", "tokens"), [(POINTS, 4), (BOXES, 2), (POINTS | BOXES, 5), (MASKS, 0), (POINTS | MASKS, 4), ({}, 0)]
)
def test_tokens_are_points_with_the_corners_of_a_box_or_a_padding_point(parts, tokens):
    assert Prompts(**parts).tokens == tokens


@pytest.mark.parametrize(("token_range", "takes"), [(None, True), ((2, 2), False), ((2, 4), True), ((5, 20), False)])
def test_an_engine_says_how_many_tokens_it_takes(token_range, takes):
    assert replace(BlobEngine.spec, token_range=token_range).takes(Prompts(**POINTS)) is takes
