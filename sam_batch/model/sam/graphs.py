"""A `Sam` as the four graphs that `engine.onnx` writes; a module of its own computes each.

Tensors, where h is the type that the precision names and s the side of the embedding:

- encoder: images float32 (N, 3, S, S) -> embeddings h (N, C, s, s)
- score: embedding h (1, C, s, s), tokens float32 (P, 2, C) -> iou float32 (P, 4), mask_tokens float32 (P, 4, C),
  cells h (P, s x s, C)
- score_masked: the same, and masks float32 (P, 1, h, w), logits of an earlier round
- finish: mask_tokens, cells -> logits float32 (P, 4, h, w)

N and P are free. All of SAM's four masks are there; the first is the single one.
"""

import torch
from segment_anything.modeling import Sam

from sam_batch.model.family import Graph
from sam_batch.model.precision import DTYPES
from sam_batch.model.sam.decoder_graphs import FinishGraph, ScoreGraph
from sam_batch.model.sam.encoder_graph import EncoderGraph

TOKENS = 2  # of a point with the padding that segment-anything gives it, or of a box


def sam_graphs(sam: Sam, precision: str, *, attention: bool, masks: bool) -> dict[str, Graph]:
    """See `model.family.Family.graphs`."""
    full, low = torch.float32, DTYPES[precision]
    image_side, side = sam.image_encoder.img_size, sam.prompt_encoder.image_embedding_size[0]
    channels, outputs = sam.prompt_encoder.embed_dim, sam.mask_decoder.num_mask_tokens
    prompts = {"embedding": ((1, channels, side, side), low), "tokens": (("prompts", TOKENS, channels), full)}
    earlier = {"masks": (("prompts", 1, 4 * side, 4 * side), full)}
    scored = {"mask_tokens": (("prompts", outputs, channels), full), "cells": (("prompts", side**2, channels), low)}
    graphs = {
        "encoder": Graph(
            lambda: EncoderGraph(sam, low, operator=attention),
            {"images": (("images", 3, image_side, image_side), full)},
            ("embeddings",),
        ),
        "score": Graph(lambda: ScoreGraph(sam, low, tokens=TOKENS, masked=False), prompts, ("iou", *scored)),
        "score_masked": Graph(
            lambda: ScoreGraph(sam, low, tokens=TOKENS, masked=True), prompts | earlier, ("iou", *scored)
        ),
        "finish": Graph(lambda: FinishGraph(sam, low), scored, ("logits",)),
    }
    return graphs if masks else {name: graph for name, graph in graphs.items() if name != "score_masked"}
