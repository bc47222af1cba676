from dataclasses import replace

import pytest
import torch
from support.small_sam import small_sam, torch_engine
from support.tensorrt_engines import photograph

from sam_batch.config_engine import VerifyConfig
from sam_batch.engine.protocol import Embeddings
from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.engine.verify import Batches, Comparison, _grid, _points, compare
from sam_batch.model.sam.family import SAM

PERFECT = Comparison(2, 100, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0)
BATCHES = Batches(images=2, prompts=3)


def engine(sam=None, precision="fp32"):
    return torch_engine(sam, precision)


def changed(part, by):
    sam = small_sam(lively=False)
    with torch.no_grad():
        part(sam).add_(by)
    return engine(sam)


@pytest.fixture(scope="module")
def reference():
    return engine()


def test_an_engine_equals_itself(reference):
    found = compare(reference, reference, [photograph(0), photograph(1)], 0.0, BATCHES, prompts=True)
    assert found.images == 2
    assert found.masks > 0
    assert (found.mask_iou, found.count_change) == (1.0, 0.0)
    assert (found.iou_error, found.logits_error) == pytest.approx((0.0, 0.0), abs=1e-5)  # batches round otherwise
    assert found.cosine == pytest.approx(1.0)
    assert found.faults(VerifyConfig()) == []


def test_half_precision_passes_with_a_small_error(reference):
    found = compare(engine(precision="fp16"), reference, [photograph()], 0.0, BATCHES, prompts=True)
    assert 0 < found.embedding_error < 0.01
    assert 0 < found.iou_error < 0.01
    assert found.faults(VerifyConfig()) == []


@pytest.mark.parametrize(
    ("part", "by", "fault"),
    [
        (lambda sam: sam.image_encoder.blocks[1].attn.proj.bias, torch.linspace(-3, 3, 32), "cosine"),
        (lambda sam: sam.mask_decoder.iou_prediction_head.layers[-1].bias, 0.1, "IoU error"),
        (lambda sam: sam.mask_decoder.output_upscaling[3].bias, torch.linspace(-3, 3, 4), "mask IoU"),
        (lambda sam: sam.prompt_encoder.mask_downscaling[-1].bias, 3.0, "IoU"),
        (lambda sam: sam.prompt_encoder.point_embeddings[2].weight, 3.0, "IoU"),
    ],
    ids=["encoder", "IoU head", "up-scaling", "masks as prompts", "boxes"],
)
def test_a_wrong_part_is_found(reference, part, by, fault):
    found = compare(changed(part, by), reference, [photograph()], 0.0, BATCHES, prompts=True)
    assert any(fault in one for one in found.faults(VerifyConfig())), found


class WrongAt(TorchEngine):
    """Miscompiled for batches of one size."""

    images = prompts = finished = 0

    def embed(self, images_N3SS):
        found = super().embed(images_N3SS)
        return Embeddings((-found.features[0],)) if len(images_N3SS) == self.images else found

    def score(self, embedding, prompts):
        found = super().score(embedding, prompts)
        return replace(found, iou=found.iou + 0.1) if len(prompts) == self.prompts else found

    def finish(self, scored, index_K2):
        found = super().finish(scored, index_K2)
        return -found if len(index_K2[:, 0].unique()) == self.finished else found


@pytest.fixture(scope="module")
def strict(reference):
    """A threshold on predicted IoU that few prompts of a photograph pass."""
    grid = _points(_grid(8, photograph()))
    return reference.score(reference.embed(photograph().image[None]), grid).iou.amax(dim=1).sort().values[-4].item()


@pytest.mark.parametrize(
    ("part", "fault"), [("images", "cosine"), ("prompts", "IoU error"), ("finished", "worst mask's IoU")]
)
@pytest.mark.parametrize("size", [2, 20])
def test_one_batch_of_the_wrong_size_is_found(reference, strict, part, size, fault):
    """Of masks too, though most prompts of a photograph have none that count."""
    wrong = WrongAt(small_sam(lively=False), SAM, model="demo", precision="fp32", device="cpu")
    setattr(wrong, part, size)
    found = compare(wrong, reference, [photograph()], strict, Batches(20, 20), prompts=False)
    assert any(fault in one for one in found.faults(VerifyConfig()))


def test_one_bad_mask_among_many_is_found():
    found = replace(PERFECT, mask_iou=0.999, worst_mask_iou=0.1)
    assert found.faults(VerifyConfig()) == ["worst mask's IoU 0.1000 < 0.5"]


def test_a_shifted_score_changes_the_count(reference):
    middle = 0.0
    shifted = changed(lambda sam: sam.mask_decoder.iou_prediction_head.layers[-1].bias, 10.0)
    assert compare(shifted, reference, [photograph()], middle, BATCHES, prompts=True).count_change > 0.02


def test_masks_that_all_fail_the_threshold_are_not_counted(reference):
    assert compare(reference, reference, [photograph()], 1e6, BATCHES, prompts=True).masks == 0


def test_what_is_kept_beside_a_plan_comes_back():
    assert Comparison.of(PERFECT.to_json() | {"plans": ["a"]}) == PERFECT
    assert "2 photographs" in PERFECT.to_text()
