"""Whether a `Sam` computes what its classes say, and is still the same: asked before other code takes its place.

A `Sam` that is in its user's hands may hold other modules than segment-anything's (adapters, quantised or compiled
ones), hooks, or weights in half precision, all of which would be passed over without a word. It may be moved or trained
at any time.
"""

from collections.abc import Iterator
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d, MLPBlock
from segment_anything.modeling.image_encoder import Attention, Block, PatchEmbed
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from segment_anything.modeling.transformer import Attention as DecoderAttention
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import nn

_KNOWN = {
    Sam, ImageEncoderViT, PatchEmbed, Block, Attention, MLPBlock, LayerNorm2d, PromptEncoder, PositionEmbeddingRandom,
    MaskDecoder, MLP, TwoWayTransformer, TwoWayAttentionBlock, DecoderAttention, nn.Linear, nn.Conv2d,
    nn.ConvTranspose2d, nn.LayerNorm, nn.Embedding, nn.GELU, nn.ReLU, nn.Sequential, nn.ModuleList,
}  # fmt: skip
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_DEVICES = ("cpu", "cuda")


def identity_of(sam: Any) -> tuple[object, ...]:
    """What changes when a `Sam` is moved, trained, rebuilt or hooked; a millisecond.

    Only what is written through `.data` leaves it alone: see `samples_of`.
    """
    return (sam.mask_threshold, *_traces(sam))


def _traces(sam: nn.Module) -> Iterator[object]:
    for module in sam.modules():
        own = vars(module)
        yield type(module), "forward" in own, *(len(own[hooks]) for hooks in _HOOKS)
        for tensor in (*own["_parameters"].values(), *own["_buffers"].values()):
            if tensor is not None:
                yield tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def samples_of(sam: nn.Module) -> list[float]:
    """A number of each weight, which waits for a GPU: a step of a trainer or of an average changes them all."""
    return torch.stack([weight.detach()[(0,) * weight.ndim].float() for weight in sam.parameters()]).tolist()


def why_not_plain(sam: Any) -> str:
    """What is unusual about a `Sam`, or nothing."""
    for name, module in sam.named_modules():
        if type(module) not in _KNOWN:
            return f"{name or 'the model'} is a {type(module).__module__}.{type(module).__qualname__}"
        if "forward" in vars(module):
            return f"{name or 'the model'} has a forward of its own"
        if any(getattr(module, hooks) for hooks in _HOOKS):
            return f"{name or 'the model'} has hooks"
    return _unusual_encoder(sam.image_encoder) or _unusual_weights(sam)


def _unusual_encoder(encoder: ImageEncoderViT) -> str:
    if encoder.pos_embed is None or not all(block.attn.use_rel_pos for block in encoder.blocks):
        return "its image encoder has no absolute or no relative positions"
    if any(block.attn.qkv.bias is None for block in encoder.blocks):
        return "its image encoder has no biases of queries, keys and values"
    return ""


def _unusual_weights(sam: Sam) -> str:
    for name, weight in sam.named_parameters():
        if weight.dtype != torch.float32:
            return f"{name} is {weight.dtype}, not float32"
        if weight.device != sam.device or weight.device.type not in _DEVICES:
            return f"{name} is on {weight.device}; all should be on one CPU or GPU (CUDA)"
    return ""
