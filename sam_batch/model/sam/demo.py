"""The architecture of the demo model: segment-anything's own classes, small.

It differs from `vit_b` only in numbers. The weights are random here; `model.load.load_model("demo")` loads the trained
ones. How they were trained is in `training/`.
"""

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from sam_batch.model.sam.models import DEMO, PIXEL_MEAN, PIXEL_STD

SIDE = DEMO.image_side
PATCH = 16  # pixels
WIDTH = 128  # channels of the image embedding and of the mask decoder


def build_demo(side: int = SIDE) -> Sam:
    """A randomly initialised demo model, float32.

    Args:
        side: Side of the input square in pixels; training starts with smaller ones.
    """
    return Sam(
        image_encoder=_image_encoder(side),
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH,
            image_embedding_size=(side // PATCH, side // PATCH),
            input_image_size=(side, side),
            mask_in_chans=16,
        ),
        mask_decoder=_mask_decoder(),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )


def _image_encoder(side: int) -> ImageEncoderViT:
    return ImageEncoderViT(
        img_size=side,
        patch_size=PATCH,
        embed_dim=192,
        depth=8,
        num_heads=3,
        mlp_ratio=4,
        out_chans=WIDTH,
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=8,
        global_attn_indexes=(2, 5, 7),
    )


def _mask_decoder() -> MaskDecoder:
    return MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=512, num_heads=4),
        transformer_dim=WIDTH,
        iou_head_depth=3,
        iou_head_hidden_dim=128,
    )
