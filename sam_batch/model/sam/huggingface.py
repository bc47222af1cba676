"""Names of tensors in Hugging Face's `SamModel`, turned into segment-anything's; the numbers are the same.

The names are those of transformers' `modeling_sam.py`; its `convert_sam_to_hf.py` goes the other way.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sam_batch.errors import CheckpointError

_MLP = r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)"

# Each is applied to every name, in this order.
_RENAMES = [
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"neck\.conv1\.", "neck.0."),
    (r"neck\.layer_norm1\.", "neck.1."),
    (r"neck\.conv2\.", "neck.2."),
    (r"neck\.layer_norm2\.", "neck.3."),
    (r"mask_embed\.conv1\.", "mask_downscaling.0."),
    (r"mask_embed\.layer_norm1\.", "mask_downscaling.1."),
    (r"mask_embed\.conv2\.", "mask_downscaling.3."),
    (r"mask_embed\.layer_norm2\.", "mask_downscaling.4."),
    (r"mask_embed\.conv3\.", "mask_downscaling.6."),
    (r"\.point_embed\.", ".point_embeddings."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (r"\.layer_norm", ".norm"),
    (_MLP + r"\.layers\.0\.", r"\1.layers.1."),
    (_MLP + r"\.proj_in\.", r"\1.layers.0."),
    (_MLP + r"\.proj_out\.", r"\1.layers.2."),
    (
        r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
]


def is_huggingface(names: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as `SamModel` names them."""
    return any(name.startswith("vision_encoder.") for name in names)


def to_segment_anything(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a `SamModel` state dict.

    Raises:
        CheckpointError: Two tensors that are one in segment-anything differ.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = _rename(name)
        if ours in renamed and not torch.equal(renamed[ours], tensor):
            raise CheckpointError(f"{name} and its twin differ, but segment-anything has one {ours}")
        renamed[ours] = tensor
    return renamed


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
