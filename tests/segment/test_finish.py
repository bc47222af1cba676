import pytest
import torch
from support.blobs import SIDE, BlobEngine
from support.pictures import picture

from sam_batch.engine.protocol import ScoredPrompts
from sam_batch.records import Prompt, View
from sam_batch.segment.finish import Chosen, choose_above, to_candidates

SCORED = ScoredPrompts(torch.tensor([[0.2, 0.9, 0.5], [0.0, 0.4, 0.6]]), state=None)
VIEW = View((10, 20, 74, 52), picture(SIDE // 2, SIDE))


@pytest.mark.parametrize(
    ("threshold", "pairs"), [(0.5, [[0, 1], [1, 2]]), (0.0, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])]
)
def test_masks_above_the_threshold_are_chosen_and_all_where_it_is_zero(threshold, pairs):
    chosen = choose_above(SCORED, threshold)
    assert chosen.index_K2.tolist() == pairs
    assert chosen.iou_K.tolist() == [SCORED.iou[prompt, mask] for prompt, mask in pairs]


def candidates(logits, min_stability=0.0):
    chosen = Chosen(torch.tensor([[1, 0], [0, 2]]), torch.tensor([0.75, 0.5]), best=0.75)
    prompts = [Prompt(prompt_id=name) for name in "ab"]
    logits_Khw = torch.tensor(logits)[:, None, None].expand(-1, SIDE // 4, SIDE // 4)
    spec = BlobEngine.spec
    return list(
        to_candidates(logits_Khw, chosen, prompts, VIEW, spec, stability_offset=1.0, min_stability=min_stability)
    )


def test_candidates_lie_in_the_image_and_name_their_prompt():
    first, second = candidates([9.0, 9.0])
    assert first.mask.box == (10, 20, 73, 51)
    assert (first.crop, first.stability) == (VIEW.box, 1.0)
    assert [(one.prompt.prompt_id, one.predicted_iou) for one in (first, second)] == [("b", 0.75), ("a", 0.5)]


def test_unstable_masks_are_left_out():
    assert [one.prompt.prompt_id for one in candidates([0.5, 9.0], min_stability=0.9)] == ["a"]
