"""Names of tensors as they stand in what the others have published."""

import pytest
from support.small_sam import small_sam

from sam_batch.model.foreign import foreign

SAM_NAMES = list(small_sam().state_dict())


def part(start):
    return [name for name in SAM_NAMES if name.startswith(start)]


OTHERS = {
    "SAM 2, ": ["image_encoder.trunk.pos_embed", "sam_mask_decoder.iou_token.weight", "maskmem_tpos_enc"],
    "SAM 2.1, ": ["image_encoder.trunk.pos_embed", "no_obj_embed_spatial", "obj_ptr_tpos_proj.weight"],
    "SAM-HQ": [*SAM_NAMES, "mask_decoder.hf_token.weight", "mask_decoder.compress_vit_feat.0.weight"],
    "MobileSAM or TinySAM": ["image_encoder.patch_embed.seq.0.c.weight", *part("mask_decoder.")],
    "EfficientSAM": ["image_encoder.blocks.0.norm1.weight", "mask_decoder.final_output_upscaling_layers.0.0.weight"],
    "EfficientViT-SAM": ["image_encoder.backbone.input_stem.op_list.0.conv.weight", *part("mask_decoder.")],
    "a low-rank adapter": ["base_model.model.image_encoder.blocks.0.attn.qkv.lora_A.default.weight"],
    "a mask decoder alone": part("mask_decoder."),
    "an image encoder alone": part("image_encoder."),
}


@pytest.mark.parametrize("what", OTHERS)
def test_each_is_called_by_name(what):
    assert foreign(OTHERS[what]).what.startswith(what)


@pytest.mark.parametrize("alone", ["mask_decoder.", "image_encoder."])
def test_a_part_is_known_without_its_own_name_too(alone):
    names = [name.removeprefix(alone) for name in part(alone)]
    assert foreign(names) == foreign(part(alone))


def test_a_decoder_with_its_prompt_encoder_is_no_model_either():
    assert foreign(part("mask_decoder.") + part("prompt_encoder.")).what.startswith("a mask decoder alone")


@pytest.mark.parametrize("names", [SAM_NAMES, [], ["conv.weight"]])
def test_whole_models_and_unknown_tensors_are_none_of_these(names):
    assert foreign(names) is None
