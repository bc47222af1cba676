"""segment-anything's model as Hugging Face's `SamModel`, in its mask-generation pipeline. Imports transformers."""

from typing import Any

import torch
from segment_anything.modeling import Sam
from transformers import (
    MaskGenerationPipeline,
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.models.sam import image_processing_sam as processing

from sam_batch.model.sam.huggingface import to_segment_anything

__all__ = ["pipeline", "processing"]


def pipeline(sam: Sam, device: str) -> Any:
    """The mask-generation pipeline with a model's weights, float32, in eval mode."""
    side, mask_side = sam.image_encoder.img_size, sam.prompt_encoder.mask_input_size[0]
    processor = SamImageProcessor(
        size={"longest_edge": side},
        pad_size={"height": side, "width": side},
        mask_size={"longest_edge": mask_side},
        mask_pad_size={"height": mask_side, "width": mask_side},
    )
    return MaskGenerationPipeline(model=to_huggingface(sam), image_processor=processor, device=torch.device(device))


def to_huggingface(sam: Sam) -> SamModel:
    """A `SamModel` with the same weights."""
    model = SamModel(config_of(sam))
    state = sam.state_dict()
    model.load_state_dict({name: state[_name(name)] for name in model.state_dict()})
    return model.eval()


def config_of(sam: Sam) -> SamConfig:
    """Read off the modules."""
    encoder, decoder = sam.image_encoder, sam.mask_decoder
    blocks, channels = encoder.blocks, sam.prompt_encoder.embed_dim
    windows = [block.window_size for block in blocks]
    layer = decoder.transformer.layers[0]
    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=encoder.patch_embed.proj.out_channels,
            output_channels=channels,
            num_hidden_layers=len(blocks),
            num_attention_heads=blocks[0].attn.num_heads,
            image_size=encoder.img_size,
            window_size=max(windows),
            global_attn_indexes=[index for index, window in enumerate(windows) if window == 0],
            num_pos_feats=channels // 2,
            mlp_dim=blocks[0].mlp.lin1.out_features,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=channels,
            image_size=encoder.img_size,
            mask_input_channels=sam.prompt_encoder.mask_downscaling[3].out_channels,
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=channels,
            mlp_dim=layer.mlp.lin1.out_features,
            num_attention_heads=layer.self_attn.num_heads,
            iou_head_depth=decoder.iou_prediction_head.num_layers,
            iou_head_hidden_dim=decoder.iou_prediction_head.layers[0].out_features,
        ),
    )


def _name(name: str) -> str:
    """segment-anything's name of a tensor."""
    (renamed,) = to_segment_anything({name: torch.empty(0)})
    return renamed
