import pytest
import torch
from support.small_sam import small_sam

from sam_batch.errors import CheckpointError
from sam_batch.model.sam.huggingface import is_huggingface, to_segment_anything


def as_huggingface(state):
    """A `Sam` state dict under the names that `transformers.SamModel` has for it."""
    renamed = {_theirs(name): tensor for name, tensor in state.items()}
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[
        "shared_image_embedding.positional_embedding"
    ]
    return renamed


def _theirs(name):
    if name == "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix":
        return "shared_image_embedding.positional_embedding"
    if "iou_prediction_head" in name or "output_hypernetworks_mlps" in name:
        head, _, rest = name.rpartition(".layers.")
        place, kind = rest.split(".")
        return f"{head}.{('proj_in', 'layers.0', 'proj_out')[int(place)]}.{kind}"
    for ours, theirs in {
        "image_encoder.blocks": "vision_encoder.layers",
        "image_encoder": "vision_encoder",
        "patch_embed.proj": "patch_embed.projection",
        "neck.0": "neck.conv1",
        "neck.1": "neck.layer_norm1",
        "neck.2": "neck.conv2",
        "neck.3": "neck.layer_norm2",
        "mask_downscaling.0": "mask_embed.conv1",
        "mask_downscaling.1": "mask_embed.layer_norm1",
        "mask_downscaling.3": "mask_embed.conv2",
        "mask_downscaling.4": "mask_embed.layer_norm2",
        "mask_downscaling.6": "mask_embed.conv3",
        "point_embeddings": "point_embed",
        "output_upscaling.0": "upscale_conv1",
        "output_upscaling.1": "upscale_layer_norm",
        "output_upscaling.3": "upscale_conv2",
        ".norm": ".layer_norm",
    }.items():
        name = name.replace(ours, theirs)
    return name


def test_every_tensor_finds_its_name_again():
    state = small_sam().state_dict()
    found = to_segment_anything(as_huggingface(state))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_names_of_both_kinds_are_told_apart():
    state = small_sam().state_dict()
    assert is_huggingface(as_huggingface(state))
    assert not is_huggingface(state)


def test_a_shared_tensor_may_be_stored_once():
    state = as_huggingface(small_sam().state_dict())
    del state["prompt_encoder.shared_embedding.positional_embedding"]
    assert to_segment_anything(state).keys() == small_sam().state_dict().keys()


def test_twins_that_differ_are_refused():
    state = as_huggingface(small_sam().state_dict())
    state["shared_image_embedding.positional_embedding"] = state["shared_image_embedding.positional_embedding"] + 1
    with pytest.raises(CheckpointError, match="twin differ"):
        to_segment_anything(state)


def test_names_are_those_of_transformers():
    """Spot checks against names read in published `SamModel` checkpoints."""
    theirs = {
        "vision_encoder.layers.3.attn.rel_pos_h": "image_encoder.blocks.3.attn.rel_pos_h",
        "vision_encoder.layers.0.layer_norm2.weight": "image_encoder.blocks.0.norm2.weight",
        "mask_decoder.transformer.layer_norm_final_attn.bias": "mask_decoder.transformer.norm_final_attn.bias",
        "mask_decoder.transformer.layers.1.layer_norm4.bias": "mask_decoder.transformer.layers.1.norm4.bias",
        "mask_decoder.iou_prediction_head.layers.0.weight": "mask_decoder.iou_prediction_head.layers.1.weight",
        "mask_decoder.iou_prediction_head.proj_out.bias": "mask_decoder.iou_prediction_head.layers.2.bias",
        "prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask_embed.weight",
    }
    found = to_segment_anything({name: torch.tensor(float(i)) for i, name in enumerate(theirs)})
    assert list(found) == list(theirs.values())
