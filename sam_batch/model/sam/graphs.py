"""A `Sam` as the graphs that `engine.onnx` writes; a module of its own computes each.

Tensors, where h is the type that the precision names and s the side of the embedding:

- encoder: images float32 (N, 3, S, S) -> embeddings h (N, C, s, s)
- score: embedding h (1, C, s, s), tokens float32 (P, 2, C) -> iou float32 (P, 4), mask_tokens float32 (P, 4, C),
  cells h (P, s x s, C)
- prompted: the same with t tokens instead of 2, filling float32 (P, t), masks float32 (P, 1, h, w), logits of an
  earlier round, and maskless float32 (P, 1, 1, 1); `PromptedGraph` says what they are
- finish: mask_tokens, cells -> logits float32 (P, 4, h, w)

N and P are free. All of SAM's four masks are there; the first is the single one.
"""

import torch
from segment_anything.modeling import Sam

from sam_batch.model.family import Graph, Positions
from sam_batch.model.precision import DTYPES
from sam_batch.model.sam.decoder_graphs import FinishGraph, PromptedGraph, ScoreGraph
from sam_batch.model.sam.encoder_graph import EncoderGraph

IMAGE_BYTES, PROMPT_BYTES = 10 << 20, 3 << 17  # that each takes in however small a model
TOKENS = 2  # of a point with the padding that segment-anything gives it, or of a box


def sam_graphs(
    sam: Sam, precision: str, *, attention: bool, positions: Positions, max_tokens: int | None
) -> dict[str, Graph]:
    """See `model.family.Family.graphs`."""
    full, low = torch.float32, DTYPES[precision]
    image_side, side = sam.image_encoder.img_size, sam.prompt_encoder.image_embedding_size[0]
    channels, outputs = sam.prompt_encoder.embed_dim, sam.mask_decoder.num_mask_tokens
    embedding = ((1, channels, side, side), low)
    cells_bytes = side**2 * channels * low.itemsize  # of one prompt; how many a compiler holds at once was measured
    scored = {"mask_tokens": (("prompts", outputs, channels), full), "cells": (("prompts", side**2, channels), low)}
    graphs = {
        "encoder": Graph(
            lambda: EncoderGraph(sam, low, operator=attention, positions=positions),
            {"images": (("images", 3, image_side, image_side), full)},
            ("embeddings",),
            encoder_scratch(sam, low, positions),
        ),
        "score": Graph(
            lambda: ScoreGraph(sam, low, tokens=TOKENS),
            {"embedding": embedding, "tokens": (("prompts", TOKENS, channels), full)},
            ("iou", *scored),
            PROMPT_BYTES + 6 * cells_bytes,
        ),
        "finish": Graph(lambda: FinishGraph(sam, low), scored, ("logits",), PROMPT_BYTES + 17 * cells_bytes // 4),
    }
    if max_tokens is not None:
        graphs["prompted"] = Graph(
            lambda: PromptedGraph(sam, low, tokens=max_tokens),
            {
                "embedding": embedding,
                "tokens": (("prompts", max_tokens, channels), full),
                "filling": (("prompts", max_tokens), full),
                "masks": (("prompts", 1, 4 * side, 4 * side), full),
                "maskless": (("prompts", 1, 1, 1), full),
            },
            ("iou", *scored),
            PROMPT_BYTES + 6 * cells_bytes,
        )
    return graphs


def encoder_scratch(sam: Sam, low: torch.dtype, positions: Positions) -> int:
    """`Graph.scratch_bytes` of the encoder: its widest block over the whole image."""
    encoder = sam.image_encoder
    side, channels = encoder.pos_embed.shape[1], encoder.pos_embed.shape[3]
    block, cells = encoder.blocks[0], side**2
    window = max((one.window_size for one in encoder.blocks), default=0) or side
    padded = (-(-side // window) * window) ** 2
    heads: int = block.attn.num_heads
    further = {"written": 0, "tiled": side, "folded": 2 * side}[positions]
    longer = 3 * cells * (channels + heads * further) if further else 0
    # In float32 logits are written as well, since no attention is fused.
    matrices = heads * cells**2 * ((positions == "written") + (low == torch.float32))
    values = 3 * channels * padded + block.mlp.lin1.out_features * cells + longer + matrices
    return IMAGE_BYTES + 2 * 4 * cells * channels + low.itemsize * values
