import pytest
import torch
from support.small_sam import small_sam
from torch import nn

from sam_batch.model.sam.plain import identity_of, samples_of, why_not_plain


class Adapter(nn.Linear):
    pass


def adapted(sam):
    sam.image_encoder.blocks[0].attn.qkv = Adapter(32, 96)


def hooked(sam):
    sam.mask_decoder.register_forward_hook(lambda *_: None)


def patched(sam):
    sam.image_encoder.forward = lambda images: images


def without_positions(sam):
    sam.image_encoder.pos_embed = None


def without_relative_positions(sam):
    sam.image_encoder.blocks[1].attn.use_rel_pos = False


def without_biases(sam):
    sam.image_encoder.blocks[0].attn.qkv.bias = None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (adapted, r"image_encoder\.blocks\.0\.attn\.qkv is a .*Adapter"),
        (hooked, "mask_decoder has hooks"),
        (patched, "image_encoder has a forward of its own"),
        (without_positions, "no absolute or no relative positions"),
        (without_relative_positions, "no absolute or no relative positions"),
        (without_biases, "no biases of queries"),
        (lambda sam: sam.half(), "is torch.float16, not float32"),
        (lambda sam: sam.to("meta"), "is on meta"),
        (lambda sam: sam.mask_decoder.to("meta"), "is on meta"),
    ],
)
def test_what_is_unusual_is_named(change, reason):
    sam = small_sam()
    assert why_not_plain(sam) == ""
    change(sam)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(why_not_plain(sam))


@torch.no_grad()
def trained(sam):
    sam.mask_decoder.iou_token.weight.add_(1)


@torch.no_grad()
def loaded(sam):
    sam.load_state_dict(small_sam(1).state_dict())


def lenient(sam):
    sam.mask_threshold = -0.5


def brighter(sam):
    sam.pixel_mean = sam.pixel_mean + 1


@pytest.mark.parametrize(
    "change", [adapted, hooked, patched, trained, loaded, lenient, brighter, lambda sam: sam.half()]
)
def test_every_change_changes_the_identity(change):
    sam = small_sam()
    before = identity_of(sam)
    assert identity_of(sam) == before
    change(sam)
    assert identity_of(sam) != before


def test_an_average_written_through_data_shows_in_the_samples():
    sam = small_sam()
    before = samples_of(sam)
    assert samples_of(sam) == before
    sam.mask_decoder.iou_token.weight.data.mul_(0.99)
    assert samples_of(sam) != before
