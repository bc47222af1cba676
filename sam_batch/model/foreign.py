"""Weights that people give and that are not run here, called by their names.

Each is known by names of tensors that no model of ours has. Under which prefixes they stand is not known here.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

MERGE = "merge them into the model they belong to and save its state_dict()"


class Foreign(NamedTuple):
    """Something that is no whole model of a family.

    Attributes:
        what: It is, in words.
        cure: What to do.
        marks: Beginnings of names; a tensor with one of them tells.
        only: Whether every tensor must have one of them.
    """

    what: str
    cure: str
    marks: tuple[str, ...]
    only: bool = False

    def matches(self, names: Iterable[str]) -> bool:
        """Whether these are the names of its tensors."""
        return (all if self.only else any)(name.startswith(self.marks) for name in names)


OTHER = "give weights of a model that is"
FOREIGN = (
    Foreign("SAM 2.1, which is not run here", OTHER, ("no_obj_embed_spatial", "obj_ptr_tpos_proj.")),
    Foreign(
        "SAM 2, which is not run here",
        OTHER,
        ("image_encoder.trunk.", "sam_mask_decoder.", "vision_encoder.backbone.", "memory_attention."),
    ),
    Foreign(
        "SAM-HQ, which is not run here",
        OTHER,
        ("mask_decoder.hf_", "mask_decoder.hq_", "mask_decoder.compress_vit_feat."),
    ),
    Foreign(
        "MobileSAM or TinySAM, with an encoder (TinyViT) that is not run here",
        OTHER,
        ("image_encoder.patch_embed.seq.",),
    ),
    Foreign("EfficientSAM, which is not run here", OTHER, ("mask_decoder.final_output_upscaling_layers.",)),
    Foreign("EfficientViT-SAM, which is not run here", OTHER, ("image_encoder.backbone.",)),
    Foreign(
        "a low-rank adapter (LoRA)", MERGE, ("base_model.model.", "w_a_", "w_b_", "lora_", "linear_a_", "linear_b_")
    ),
    Foreign(
        "a mask decoder alone, without the image encoder",
        "load it into the mask_decoder of the model it was trained on, and save the whole model's state_dict()",
        (
            "mask_decoder.", "prompt_encoder.", "shared_image_embedding.", "transformer.", "iou_token.", "mask_tokens.",
            "output_upscaling.", "output_hypernetworks_mlps.", "iou_prediction_head.",
        ),
        only=True,
    ),
    Foreign(
        "an image encoder alone, without the mask decoder",
        "load it into the image_encoder of the model it was trained from, and save the whole model's state_dict()",
        ("image_encoder.", "vision_encoder.", "pos_embed", "patch_embed.", "blocks.", "neck."),
        only=True,
    ),
)  # fmt: skip


def foreign(names: Collection[str]) -> Foreign | None:
    """What tensors with these names are, if it is known and not run here."""
    return next((one for one in FOREIGN if names and one.matches(names)), None)
