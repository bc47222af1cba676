"""A SAM of segment-anything's own classes that is small enough to run hundreds of times in a test.

Its weights are random but lively: masks follow the picture, predicted IoUs spread around 0.8 and stabilities
over 0 to 1, so that every threshold keeps some masks and drops others.
"""

from dataclasses import replace

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from sam_batch.engine.torch_engine import TorchEngine
from sam_batch.model.sam.family import SAM, SamFamily
from sam_batch.model.sam.models import VIT_B, VIT_L

CHANNELS = 32
POSITIONS = ("pos_embed", "rel_pos_h", "rel_pos_w")


def small_sam(seed: int = 0, image_side: int = 128, lively: bool = True) -> Sam:
    """A random SAM in float32 on the CPU, in eval mode; the same for the same seed.

    The embedding is (32, image_side / 16, image_side / 16) and the low-resolution logits have a quarter of the
    image's side. The encoder has a window block (with padding) and a global one, with relative positions.

    Args:
        seed: Of the weights.
        image_side: S, a multiple of 16.
        lively: Stretch the weights as the module's docstring says. Lively weights also magnify rounding errors; what
            compares precisions wants calm ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = skeleton(image_side)
        _fill(sam)
        if lively:
            _enliven(sam)
    return sam.eval()


def skeleton(image_side: int = 128, depth: int = 2) -> Sam:
    """The modules with torch's own initial weights."""
    grid = (image_side // 16, image_side // 16)
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=image_side,
            embed_dim=32,
            depth=depth,
            num_heads=2,
            mlp_ratio=2,
            out_chans=CHANNELS,
            norm_layer=lambda dim: nn.LayerNorm(dim, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=CHANNELS, image_embedding_size=grid, input_image_size=(image_side, image_side), mask_in_chans=8
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=64, num_heads=4),
            transformer_dim=CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=CHANNELS,
        ),
    )


def random_vit_b() -> Sam:
    """SAM's smallest, with random weights, also in place of the zeros that positions start with."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        sam = sam_model_registry["vit_b"]().eval()
        for name, weight in sam.image_encoder.named_parameters():
            if name.endswith(POSITIONS):
                weight.normal_(std=0.1)
    return sam


class SmallFamily(SamFamily):
    """Small models under the names, addresses and hashes of real ones; nobody has published weights of them."""

    models = (
        replace(VIT_B, image_side=128, signature=(32, 2)),
        replace(VIT_L, image_side=128, signature=(32, 3)),
    )

    def build(self, name: str) -> Sam:
        """By depth."""
        return skeleton(depth={"vit_b": 2, "vit_l": 3}[name])


@torch.no_grad()
def _fill(sam: Sam) -> None:
    """Replace the zeros and ones of a fresh model by random numbers."""
    for name, parameter in sam.named_parameters():
        if name.endswith(POSITIONS):
            nn.init.normal_(parameter, std=0.05)
        elif parameter.ndim == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))


@torch.no_grad()
def _enliven(sam: Sam) -> None:
    """Stretch what would otherwise hardly vary."""
    for name, parameter in sam.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            parameter.mul_(9.0)  # peaked attention: masks depend on where the prompt is
        elif name.endswith(("v_proj.weight", "out_proj.weight")):
            parameter.mul_(4.0)
    for layer in (sam.mask_decoder.output_upscaling[0], sam.mask_decoder.output_upscaling[3]):
        smooth = layer.weight.mean(dim=(2, 3), keepdim=True)
        layer.weight.mul_(0.3).add_(2.0 * smooth)
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.mul_(160.0)
    _spread_predicted_iou(sam)


def _spread_predicted_iou(sam: Sam) -> None:
    """Give each mask token's predicted IoU a mean of 0.8 and a deviation of 0.2 over random prompts."""
    side = sam.image_encoder.img_size
    sparse, dense = sam.prompt_encoder((side * torch.rand(64, 1, 2), torch.ones(64, 1)), None, None)
    embedding = sam.image_encoder(torch.randn(1, 3, side, side))
    _, iou = sam.mask_decoder.predict_masks(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense)
    last = sam.mask_decoder.iou_prediction_head.layers[-1]
    scale = 0.2 / iou.std(dim=0)
    last.weight.mul_(scale[:, None])
    last.bias.copy_(0.8 + (last.bias - iou.mean(dim=0)) * scale)


def torch_engine(
    sam: Sam | None = None, precision: str = "fp32", device: str = "cpu", *, model: str = "demo"
) -> TorchEngine:
    """The torch engine of a SAM, by default of a calm small one; the SAM is the engine's from then on."""
    return TorchEngine(sam or small_sam(lively=False), SAM, model=model, precision=precision, device=device)
